//! The thread that starts every child.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::oneshot;

use super::diagnose::{self, Diagnosis};
use super::os::spawn::{Child, Failed, Plan, Stack, spawn};
use super::os::watchdog::Watchdog;
use super::output::{Drain, Streams};
use super::process::Process;
use super::reaper::{KillOnDrop, Leader, Reaper, lock};
use super::spec::{Prepared, ProcessSpec};

/// Starts that wait for their turn. One takes about a millisecond, so that this is seconds of work; what
/// comes beyond it is refused.
const MAX_WAITING: usize = 4096;

/// How often a program is tried again that somebody holds open for writing (ETXTBSY), and the pause between.
/// The holder is most often a child of another thread, between its birth and its exec.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Why no launcher could be made.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Descriptors, a thread or the watchdog process could not be had.
    #[error(
        "the launcher cannot start: {what}; check the limits of open files and processes (ulimit -n, -u)"
    )]
    Resources {
        /// What was refused.
        what: &'static str,
        /// By the kernel, because.
        #[source]
        source: io::Error,
    },
}

/// Why a process was not started. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program cannot be executed.
    #[error("{diagnosis}")]
    Program {
        /// What is wrong with it, and what to do.
        diagnosis: Diagnosis,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The working directory cannot be entered.
    #[error("the working directory {} cannot be entered: {source}", path.display())]
    WorkDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A text holds a NUL byte, which the kernel takes for its end.
    #[error("{text:?} holds a NUL byte, which no argument, variable or path can")]
    Nul {
        /// The text.
        text: String,
    },
    /// Descriptors or a process could not be had.
    #[error("no process can be started: {0}; check the limits of open files and processes (ulimit -n, -u)")]
    Resources(#[source] io::Error),
    /// Too many starts wait already.
    #[error("{MAX_WAITING} processes wait to be started already; try again later")]
    Busy,
    /// The launcher has ended.
    #[error("the launcher has ended, as the host shuts down")]
    Ended,
}

/// How to launch. The default is right for a program that links the host.
#[derive(Clone, Debug, Default)]
pub struct LauncherOptions {
    adopts_orphans: bool,
}

/// Starts processes. Cloning is cheap.
///
/// When the last clone and the last [`Process`] of it are dropped, what still runs is killed and the
/// threads are joined; that takes milliseconds.
#[derive(Clone, Debug)]
pub struct Launcher {
    pub(crate) threads: Arc<Threads>,
}

/// The launcher thread, which owns the reaper thread. The parent-death signal of every child follows the
/// first, so that it ends last.
#[derive(Debug)]
pub(crate) struct Threads {
    jobs: Mutex<Option<SyncSender<Job>>>,
    launcher: Mutex<Option<JoinHandle<()>>>,
    /// Children read the end of this pipe when the host is gone.
    _lifeline: OwnedFd,
}

struct Job {
    spec: ProcessSpec,
    reply: oneshot::Sender<Result<Started, SpawnError>>,
}

struct Started {
    guard: KillOnDrop,
    streams: Streams,
    spec: ProcessSpec,
}

struct Worker {
    reaper: Arc<Reaper>,
    lifeline: OwnedFd,
    null: OwnedFd,
    stack: Stack,
}

impl LauncherOptions {
    /// For a process that is a child subreaper, as the daemon is: collects orphans that it adopts. Then every
    /// child of this process must come from this launcher, or its status may be collected here.
    pub fn adopts_orphans(mut self, adopts: bool) -> Self {
        self.adopts_orphans = adopts;
        self
    }
}

impl Launcher {
    /// Starts the launcher thread, the reaper thread and the watchdog process. Best called early, while the
    /// program is small, since the watchdog is a fork of it.
    pub fn start(options: LauncherOptions) -> Result<Self, LaunchError> {
        let failed = |what| move |source: io::Error| LaunchError::Resources { what, source };
        let (lifeline, write_end) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("a pipe")(error.into()))?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("/dev/null")(error.into()))?;
        let (jobs, queue) = sync_channel(MAX_WAITING);
        let (tell, told) = sync_channel(1);
        let thread = std::thread::Builder::new().name("plugmesh-launch".to_owned());
        let launcher = thread
            .spawn(move || match start_reaper(&options) {
                Ok((reaper, reaping)) => {
                    let stack = Stack::new();
                    let _ = tell.send(Ok(()));
                    Worker { reaper: Arc::clone(&reaper), lifeline, null, stack }.run(&queue);
                    reaper.end();
                    let _ = reaping.join();
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            })
            .map_err(failed("a thread"))?;
        let threads = Threads {
            jobs: Mutex::new(Some(jobs)),
            launcher: Mutex::new(Some(launcher)),
            _lifeline: write_end,
        };
        let ended = || failed("its thread")(io::Error::other("it ended"));
        told.recv().unwrap_or_else(|_| Err(ended()))?;
        Ok(Self { threads: Arc::new(threads) })
    }

    /// Starts a process in a group of its own, with the environment of `spec` and no other, standard input
    /// empty, and only the lifeline beside the standard descriptors.
    ///
    /// Returns when the program runs: what can be wrong with the file is an error here, what goes wrong in
    /// the program is an [`Exit`](super::Exit). Must be called within a runtime with I/O and time; the task
    /// that drains the output runs there. When this future is dropped, the process is killed.
    pub async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SpawnError> {
        let (reply, answer) = oneshot::channel();
        let jobs = lock(&self.threads.jobs).clone().ok_or(SpawnError::Ended)?;
        jobs.try_send(Job { spec, reply }).map_err(|error| match error {
            TrySendError::Full(_) => SpawnError::Busy,
            TrySendError::Disconnected(_) => SpawnError::Ended,
        })?;
        // Held clones would keep the thread from ending.
        drop(jobs);
        let Started { guard, streams, spec } = answer.await.map_err(|_| SpawnError::Ended)??;
        let exit = guard.leader.exit();
        let drain = Drain::start(streams, spec.log, exit).map_err(SpawnError::Resources)?;
        Ok(Process::new(guard, drain, Arc::clone(&self.threads), spec.instance))
    }
}

/// On the launcher thread, so that the watchdog is forked from it as well.
fn start_reaper(options: &LauncherOptions) -> Result<(Arc<Reaper>, JoinHandle<()>), LaunchError> {
    let failed = |what| move |source: io::Error| LaunchError::Resources { what, source };
    let watchdog = Watchdog::start().map_err(failed("the watchdog process"))?;
    let reaper = Reaper::new(watchdog, options.adopts_orphans).map_err(failed("descriptors"))?;
    let reaper = Arc::new(reaper);
    let runs = Arc::clone(&reaper);
    let thread = std::thread::Builder::new().name("plugmesh-reaper".to_owned());
    let reaping = thread.spawn(move || runs.run()).map_err(failed("a thread"))?;
    Ok((reaper, reaping))
}

impl Drop for Threads {
    fn drop(&mut self) {
        *lock(&self.jobs) = None;
        if let Some(launcher) = lock(&self.launcher).take() {
            let _ = launcher.join();
        }
    }
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(Job { spec, reply }) = queue.recv() {
            if !reply.is_closed() {
                // Nobody may want it any more; then dropping it kills it.
                let _ = reply.send(self.start(spec));
            }
        }
    }

    fn start(&mut self, spec: ProcessSpec) -> Result<Started, SpawnError> {
        let executable = spec.executable();
        let prepared = spec.prepare(&executable).map_err(|nul| SpawnError::Nul { text: nul.0 })?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| SpawnError::Resources(error.into()));
        let ((stdout, child_stdout), (stderr, child_stderr)) = (pipe()?, pipe()?);
        for end in [&stdout, &stderr] {
            rustix::io::ioctl_fionbio(end, true).map_err(|error| SpawnError::Resources(error.into()))?;
        }
        let birth = self.reaper.birth();
        let stdio = [self.null.as_fd(), child_stdout.as_fd(), child_stderr.as_fd()];
        let plan = plan(&prepared, stdio, self.lifeline.as_fd());
        let child = spawn_when_not_busy(&plan, &mut self.stack);
        let child = child.map_err(|failed| explain(failed, &spec, executable))?;
        let guard = self.reaper.take(Leader::new(child.pid, child.pidfd, prepared.cookie));
        drop(birth);
        Ok(Started { guard, streams: Streams { stdout, stderr }, spec })
    }
}

fn plan<'a>(
    prepared: &'a Prepared,
    stdio: [std::os::fd::BorrowedFd<'a>; 3],
    lifeline: std::os::fd::BorrowedFd<'a>,
) -> Plan<'a> {
    Plan {
        program: &prepared.program,
        arguments: &prepared.arguments,
        environment: &prepared.environment,
        work_dir: prepared.work_dir.as_deref(),
        stdio: Some(stdio),
        lifeline,
        dies_with_thread: true,
    }
}

fn spawn_when_not_busy(plan: &Plan<'_>, stack: &mut Stack) -> Result<Child, Failed> {
    for _ in 0..BUSY_TRIES {
        match spawn(plan, stack) {
            Err(Failed::Exec(error)) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                let _ = poll(&mut [], Some(&BUSY_PAUSE));
            }
            other => return other,
        }
    }
    spawn(plan, stack)
}

fn explain(failed: Failed, spec: &ProcessSpec, executable: PathBuf) -> SpawnError {
    match failed {
        Failed::Clone(source) => SpawnError::Resources(source),
        Failed::WorkDir(source) => {
            SpawnError::WorkDir { path: spec.work_dir.clone().unwrap_or_default(), source }
        }
        Failed::Exec(source) => {
            // A bare name was looked up in PATH: it has no place of its own.
            let has_place = executable.components().nth(1).is_some();
            let work_dir = spec.work_dir.as_ref().filter(|_| has_place);
            let seen_from = work_dir.map(|dir| dir.join(&executable)).unwrap_or(executable);
            SpawnError::Program { diagnosis: diagnose::exec_failure(&seen_from, &source), source }
        }
    }
}

/// The wait for a busy file is bounded well below any start deadline.
const _: () = assert!(Duration::from_millis(2).as_millis() * (BUSY_TRIES as u128) <= 100);
