//! Logs: JSON lines on stderr for a host, plain lines for a person at a terminal.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// Variable with the log levels, such as `debug` or `info,my_plugin=trace`; before `RUST_LOG`. Default: `info`.
pub const LOG: &str = "PLUGMESH_LOG";

/// Characters of a back trace that go into a log line: the frames that matter come first.
const MAX_BACKTRACE: usize = 8192;

static PANICS_LOGGED: AtomicBool = AtomicBool::new(false);

/// Makes stderr the log, unless the program has set up its own `tracing` subscriber.
pub(crate) fn start() {
    let levels =
        [LOG, "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let parsed: Result<Targets, _> = levels.as_deref().unwrap_or("info").parse();
    let targets =
        parsed.as_ref().map_or_else(|_| Targets::new().with_default(tracing::Level::INFO), Clone::clone);
    let person = io::stderr().is_terminal();
    let log = Registry::default().with(lines(person).with_filter(targets));
    if tracing::subscriber::set_global_default(log).is_err() {
        return;
    }
    if let Err(error) = parsed {
        tracing::warn!(%error, levels, "the log levels make no sense: using info");
    }
    std::panic::set_hook(Box::new(log_panic));
    PANICS_LOGGED.store(true, Ordering::Relaxed);
}

/// Whether panics are logged where they happen. They are not where the program has set up its own log.
pub(crate) fn logs_panics() -> bool {
    PANICS_LOGGED.load(Ordering::Relaxed)
}

fn lines<S>(person: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // An error while writing would be reported to stderr, which is what just failed.
    let layer = tracing_subscriber::fmt::layer().with_writer(Stderr).log_internal_errors(false);
    if person {
        layer.compact().boxed()
    } else {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    }
}

/// What was passed to `panic!`.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("of no text")
}

/// A panic as one line, so that its place reaches the log of the host.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    // Captured only where RUST_BACKTRACE asks for it.
    let backtrace = (backtrace.status() == BacktraceStatus::Captured)
        .then(|| backtrace.to_string().chars().take(MAX_BACKTRACE).collect::<String>());
    tracing::error!(
        panic = panic_text(panic.payload()),
        location,
        backtrace,
        thread = std::thread::current().name(),
        "panicked"
    );
}

/// Standard error, whatever becomes of it: a log that nobody reads any more is no reason to fail.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // In one piece, so that lines of several threads do not mix.
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
