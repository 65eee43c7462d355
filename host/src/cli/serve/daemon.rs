//! The host's own process.

use std::ffi::OsStr;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::example::example;
use super::logging::Logging;
use super::progress::Progress;
use super::{Plan, ServeError, Started, show};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::lock::Lock;
use crate::cli::terminal::Terminal;
use crate::launch::guardian::{Ward, end_all_descendants};
use crate::telemetry::{Collector, Traces};
use crate::{Host, HostError, Problem};

/// How long killing what is left may take when the guardian is gone.
const LAST_KILL: Duration = Duration::from_secs(5);

/// How long ending waits until the last spans are sent: a collector that is there takes milliseconds.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// How long to wait for a plugin to describe itself, which it does once it is ready: an example of a call is worth
/// that much.
const EXAMPLE: Duration = Duration::from_millis(500);

/// Why the host ends.
enum Why {
    /// Somebody asked for it, and in-flight calls may go on for this long.
    Asked(Duration),
    /// The guardian is gone: whoever killed it means the host.
    Orphaned,
}

/// Runs the host until it is told to end.
///
/// Calls and connections have this thread to themselves: one thread on which nothing else runs serves them
/// faster than several that wake each other.
pub(super) fn run(plan: Plan, marker: &OsStr, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    let ended = runtime.block_on(serve(plan, marker, terminal));
    // Whatever the host could not end in good order ends here.
    drop(runtime);
    if matches!(ended, Ok(Why::Orphaned)) {
        end_all_descendants(LAST_KILL);
    }
    ended.map(|_| Exit::OK)
}

async fn serve(plan: Plan, marker: &OsStr, terminal: &mut Terminal) -> Result<Why, CliError> {
    let ward = Ward::take(Some(marker)).map_err(ServeError::Ward)?;
    let mut signals = Signals::take().map_err(CliError::Runtime)?;
    let _lock = Lock::acquire(&plan.gateway)?;
    let (collector, traces) = telemetry(&plan)?;
    let logging = Logging::start(&plan.config.log, terminal, traces.as_ref());
    let ended = serve_with(logging, collector, &ward, &mut signals, plan, terminal).await;
    if let Some(traces) = traces
        && matches!(ended, Ok(Why::Asked(_)))
    {
        traces.shutdown(LAST_SPANS).await;
    }
    ended
}

/// Who is sent metrics and traces, if anybody.
fn telemetry(plan: &Plan) -> Result<(Option<Collector>, Option<Traces>), CliError> {
    let telemetry = &plan.config.telemetry;
    let collector = Collector::new(telemetry).map_err(HostError::from).map_err(ServeError::from)?;
    let traces = collector.clone().map(|collector| Traces::start(collector, telemetry.traces));
    Ok((collector, traces.transpose().map_err(CliError::Runtime)?))
}

async fn serve_with(
    logging: Logging,
    collector: Option<Collector>,
    ward: &Option<Ward>,
    signals: &mut Signals,
    plan: Plan,
    terminal: &mut Terminal,
) -> Result<Why, CliError> {
    let drain_timeout = plan.config.drain_timeout;
    let mut builder = Host::builder().config(plan.config.clone()).adopts_orphans(true);
    if let Some(collector) = collector {
        builder = builder.collector(collector);
    }
    let host = builder.open().await.map_err(ServeError::from)?;
    let gone = async {
        match ward {
            Some(ward) => ward.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(gone);
    let problems = tokio::select! {
        problems = load(&host, &plan, terminal) => problems,
        () = signals.any() => return Ok(end(host, Why::Asked(Duration::ZERO), signals).await),
        () = &mut gone => return Ok(end(host, Why::Orphaned, signals).await),
    };
    // How plugins came along has been shown.
    for problem in problems.iter().filter(|problem| !problem.is_a_state()) {
        terminal.remark(problem);
    }
    let example = tokio::time::timeout(EXAMPLE, example(host.board())).await.ok().flatten();
    let started = Started { plugins: host.plugins(), services: host.services(), example };
    show(&plan, &started, terminal)?;
    logging.as_configured();
    let why = tokio::select! {
        () = signals.any() => Why::Asked(drain_timeout),
        grace = host.shutdown_requested() => Why::Asked(grace),
        () = &mut gone => Why::Orphaned,
    };
    Ok(end(host, why, signals).await)
}

/// Starts the plugins and shows how they come along.
async fn load(host: &Host, plan: &Plan, terminal: &mut Terminal) -> Vec<Problem> {
    let mut progress = Progress::new(terminal);
    let mut board = host.board().follow();
    let loading = host.load(plan.dirs.clone());
    tokio::pin!(loading);
    loop {
        tokio::select! {
            problems = &mut loading => {
                // The last change and the end come together.
                host.plugins().iter().for_each(|plugin| progress.update(plugin));
                // The summary shows a method that can be called.
                host.described().await;
                return problems;
            }
            _ = board.changed() => {
                board.mark_unchanged();
                host.plugins().iter().for_each(|plugin| progress.update(plugin));
            }
        }
    }
}

/// Drains and ends; a second signal, or the end of the guardian, ends it at once.
async fn end(host: Host, why: Why, signals: &mut Signals) -> Why {
    if let Why::Asked(grace) = why {
        tracing::info!(grace_s = grace.as_secs(), "shutting down");
        tokio::select! {
            () = host.shutdown(grace) => {}
            () = signals.any() => tracing::warn!("told twice: ending at once"),
        }
    }
    why
}

/// The signals that end a host.
struct Signals([Signal; 3]);

impl Signals {
    fn take() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
