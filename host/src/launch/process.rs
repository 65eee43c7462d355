//! One running child.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgid};
use tokio::sync::watch;

use super::exit::{Cause, Exit};
use super::launcher::Threads;
use super::os::proc;
use super::output::Drain;
use super::reaper::KillOnDrop;
use crate::name::InstanceId;

/// A child process with its group. Cloning is cheap; when the last clone is dropped, the process, its group
/// and what descends from it are killed, also outside of a runtime.
#[derive(Clone)]
pub struct Process {
    inner: Arc<Inner>,
}

/// Fields are dropped in this order: the kill is asked for before the threads that carry it out may end.
struct Inner {
    guard: KillOnDrop,
    exit: watch::Receiver<Option<Exit>>,
    drain: Drain,
    instance: InstanceId,
    _threads: Arc<Threads>,
}

impl Process {
    pub(crate) fn new(guard: KillOnDrop, drain: Drain, threads: Arc<Threads>, instance: InstanceId) -> Self {
        let exit = guard.leader.exit();
        Self { inner: Arc::new(Inner { guard, exit, drain, instance, _threads: threads }) }
    }

    /// Process id, which is the id of the group too. For showing: it may be another's once
    /// [`exit`](Self::exit) says that this one ended.
    pub fn pid(&self) -> u32 {
        self.inner.guard.leader.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Which incarnation this is.
    pub fn instance(&self) -> &InstanceId {
        &self.inner.instance
    }

    /// Whether process `pid`, which the caller has a reason to believe alive, such as a peer of a socket,
    /// is in the group of this one.
    pub fn has_member(&self, pid: i32) -> bool {
        let Some(pid) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else { return false };
        let is_in = |group| getpgid(Some(pid)).is_ok_and(|of_pid| of_pid == group);
        self.inner.guard.leader.with_group(is_in).unwrap_or(false)
    }

    /// Whether it stands still, by SIGSTOP or a debugger.
    pub fn is_stopped(&self) -> bool {
        self.inner.guard.leader.with_group(proc::is_stopped).unwrap_or(false)
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        *self.inner.exit.borrow()
    }

    /// Waits for the end: of the process, of all it left behind, and of its output. Any number may wait, and
    /// a wait may be cancelled.
    pub async fn wait(&self) -> Exit {
        let exit = self.inner.exit.clone().wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        self.inner.drain.done().await;
        // Only a reaper that ended without this process would leave nothing to say.
        exit.unwrap_or(Exit { cause: Cause::Unknown, at: std::time::SystemTime::now(), out_of_memory: None })
    }

    /// Asks it to end with SIGTERM and kills the whole group, and all below, when `grace` has passed. What
    /// the process leaves behind when it ends by itself is killed too.
    ///
    /// Cancelled in between, it stays asked but is not killed.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.terminate();
        match tokio::time::timeout(grace, self.ended()).await {
            Ok(()) => {}
            Err(_) => self.kill(),
        }
        self.wait().await
    }

    /// Sends SIGTERM to the process alone, and does not wait.
    pub fn terminate(&self) {
        self.inner.guard.leader.signal(Signal::TERM);
    }

    /// Kills the process, its group and all below it, and does not wait.
    pub fn kill(&self) {
        self.inner.guard.kill();
    }

    /// The last lines of standard error, oldest first: at most [`CRASH_LINES`](super::CRASH_LINES) and
    /// [`CRASH_BYTES`](super::CRASH_BYTES). Complete after [`wait`](Self::wait).
    pub fn last_lines(&self) -> Vec<String> {
        self.inner.drain.crash().lines()
    }

    async fn ended(&self) {
        let _ = self.inner.exit.clone().wait_for(Option::is_some).await;
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid())
            .field("instance", &self.inner.instance)
            .field("exit", &self.exit())
            .finish_non_exhaustive()
    }
}
