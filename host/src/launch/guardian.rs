//! The parent of a daemon: a small process that waits, and cleans up however the daemon went.
//!
//! `plugmesh serve` runs as two processes. The first is the guardian: a subreaper, so that whatever loses
//! its parent below becomes its child, also what called `setsid`. It starts the same program again with
//! [`MARKER`] set, passes on the signals that ask for an end, and when the daemon has ended, by SIGKILL too,
//! kills every process that is left. The daemon in turn learns through a pipe that its guardian is gone.

use std::ffi::{CString, OsStr, OsString};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Signal, WaitOptions, WaitStatus, getpid, pidfd_send_signal, set_child_subreaper, wait,
};
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix;

use super::diagnose;
use super::exit::Cause;
use super::os::spawn::{Child, Failed, LIFELINE_FD, Plan, Stack, spawn};
use super::os::{descriptors, proc};

/// Set for the daemon by its guardian: the number of the descriptor that ends with the guardian.
pub const MARKER: &str = "PLUGMESH_GUARDIAN_FD";

/// How long the guardian tries to kill what is left. The kernel ends a killed process at once unless it
/// is stuck in a device.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Pause between looks for what is left, while killed processes end.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the daemon to end, or to do what it does on it.
const FORWARDED: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Why the daemon was not started.
#[derive(Debug, thiserror::Error)]
#[error("the daemon cannot be started: {what}: {source}")]
pub struct GuardianError {
    what: String,
    source: io::Error,
}

/// The daemon's end of the tie to its guardian.
#[derive(Debug)]
pub struct Ward {
    lifeline: Receiver,
}

/// Runs `program` with `arguments` and `environment` as the daemon, and stays until it and all its
/// descendants are gone. Answers the code to exit with: the daemon's own, or 128 and the signal.
///
/// Call it first thing in `main`: it handles the signals of the process, with a runtime of its own. `environment`
/// is the whole environment, `std::env::vars_os()` as a rule.
pub fn run(
    program: &Path,
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<u8, GuardianError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| GuardianError { what, source }
    };
    set_child_subreaper(Some(getpid())).map_err(|error| failed("becoming a subreaper")(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(failed("a runtime"))?;
    // Before the daemon starts, so that no signal is missed.
    let signals = runtime.block_on(async { Signals::take() }).map_err(failed("taking over signals"))?;
    let (lifeline, _held) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("a pipe")(error.into()))?;

    let nul = || failed("arguments")(io::Error::from(io::ErrorKind::InvalidInput));
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| nul());
    let name = [program.as_os_str().to_owned()];
    let arguments = name.into_iter().chain(arguments).map(|argument| text(argument.as_bytes()));
    let environment = environment.into_iter().filter(|(name, _)| name != MARKER);
    let environment = environment.chain([(MARKER.into(), LIFELINE_FD.to_string().into())]);
    let environment =
        environment.map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
    let plan = Plan {
        program: &text(program.as_os_str().as_bytes())?,
        arguments: &arguments.collect::<Result<Vec<_>, _>>()?,
        environment: &environment.collect::<Result<Vec<_>, _>>()?,
        work_dir: None,
        stdio: None,
        lifeline: lifeline.as_fd(),
        // It must survive its guardian for as long as it takes to kill its own children.
        dies_with_thread: false,
    };
    let daemon = spawn(&plan, &mut Stack::new()).map_err(|failure| match failure {
        Failed::Exec(source) => {
            GuardianError { what: diagnose::exec_failure(program, &source).to_string(), source }
        }
        Failed::Clone(source) | Failed::WorkDir(source) => failed("starting it")(source),
    })?;
    drop(lifeline);
    let cause = runtime.block_on(stay(&daemon, signals));
    end_all_descendants(END_PATIENCE);
    Ok(cause.shell_code())
}

/// The signals that the guardian handles.
struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    fn take() -> io::Result<Self> {
        let all = FORWARDED.into_iter().chain([Signal::CHILD]);
        let taken =
            all.map(|signal| Ok((signal, unix::signal(unix::SignalKind::from_raw(signal.as_raw()))?)));
        taken.collect::<io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Waits for the end of the daemon, collecting orphans and passing on signals.
async fn stay(daemon: &Child, mut signals: Signals) -> Cause {
    loop {
        // One SIGCHLD may stand for many ends.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == daemon.pid {
                return cause(status);
            }
        }
        match signals.next().await {
            Signal::CHILD => {}
            signal => {
                let _ = pidfd_send_signal(&daemon.pidfd, signal);
            }
        }
    }
}

/// Kills every descendant of this process, and those that appear meanwhile, until none is left or `within`
/// has passed. Answers whether none is left.
///
/// For a process that is a [subreaper](Ward::take), about to end, and waits for no child of its own any more:
/// the children's statuses are collected here. It blocks.
pub fn end_all_descendants(within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        // Children that nobody reaped keep their numbers, so that the pidfds are surely theirs.
        let below = proc::descendants(&[getpid()]);
        below.iter().for_each(proc::Held::kill);
        proc::await_end(&below, PAUSE);
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(rustix::io::Errno::CHILD) => return true,
                Err(_) => break,
            }
        }
        if Instant::now() >= deadline {
            return false;
        }
    }
}

impl Ward {
    /// The daemon's side, first thing in `main` with the value of [`MARKER`]: nothing when there is no
    /// guardian. Makes this process a subreaper too, so that what its plugins leave behind stays below it if
    /// the guardian dies first; start its launcher with
    /// [`adopts_orphans`](super::LauncherOptions::adopts_orphans).
    ///
    /// Must be called once, and within a runtime with I/O.
    pub fn take(marker: Option<&OsStr>) -> io::Result<Option<Self>> {
        let Some(marker) = marker else { return Ok(None) };
        let number = marker.to_str().and_then(|number| number.parse().ok());
        let number = number
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{MARKER} is no number")))?;
        let lifeline = Receiver::from_owned_fd(descriptors::adopt_pipe(number)?)?;
        set_child_subreaper(Some(getpid()))?;
        Ok(Some(Self { lifeline }))
    }

    /// Resolves when the guardian is gone. Then the daemon must stop its plugins without ado, call
    /// [`end_all_descendants`] and exit.
    pub async fn gone(&self) {
        loop {
            if self.lifeline.readable().await.is_err() {
                return;
            }
            match self.lifeline.try_read(&mut [0; 64]) {
                // Nobody writes here; were it so, it would mean nothing.
                Ok(read) if read > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

fn cause(status: WaitStatus) -> Cause {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Cause::Code(code),
        (None, Some(number)) => Cause::Signal { number, core: false },
        (None, None) => Cause::Unknown,
    }
}
