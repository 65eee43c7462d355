//! Child processes: from a [`ProcessSpec`] to a running, watched [`Process`], and to its certain end.
//!
//! - [`RunDirectory`]: the private directory where a host's sockets and files live.
//! - [`Environment`]: what of the host's environment a plugin gets to see.
//! - [`Launcher`]: starts processes, from a thread that lives as long as the host.
//! - [`Process`]: one of them; its [`Exit`]; stopping it.
//! - [`LogSink`], [`LogBuffer`]: where its output goes.
//! - [`Arrivals`]: waits for it to listen.
//! - [`guardian`]: the parent of a daemon, which cleans up when that is killed.
//! - [`diagnose`]: why a program does not start, in words.
//!
//! What is guaranteed when the host dies without warning (`kill -9`):
//!
//! | | the plugin | its process group | what left the group (`setsid`) |
//! |---|---|---|---|
//! | a program that links the host | killed by the kernel | killed by the watchdog | told by the lifeline only |
//! | the daemon, below its guardian | killed | killed | killed by the guardian |
//!
//! When a plugin ends or is stopped while the host lives, all three are killed, but for a process that
//! left the group, lost its parent *and* wiped `PLUGMESH_INSTANCE_ID` from its environment; below a
//! guardian that one is killed when the daemon ends.

pub mod diagnose;
mod environment;
mod exit;
pub mod guardian;
mod launcher;
mod oom;
mod os;
mod output;
mod process;
mod readiness;
mod reaper;
mod run_directory;
mod spec;

pub use environment::{ALLOWED, ALLOWED_PREFIXES, Environment};
pub use exit::{Cause, Exit};
pub use launcher::{LaunchError, Launcher, LauncherOptions, SpawnError};
pub use oom::OutOfMemory;
pub use output::{
    BUFFERED_LINES, CRASH_BYTES, CRASH_LINES, Discard, Followed, Follower, Level, LogBuffer, LogEntry,
    LogLine, LogSink, MAX_LINE_BYTES, PLUGIN_OUTPUT, Stream,
};
pub use process::Process;
pub use readiness::{Armed, Arrivals, Awaited, Connected, NotReady};
pub use run_directory::{BaseSearch, InstanceDirectory, MAX_SOCKET_PATH, RunDirectory, RunDirectoryError};
pub use spec::ProcessSpec;

#[cfg(test)]
mod tests;
