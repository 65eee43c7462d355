//! Makes a plugin from its sources, once for each state of them.
//!
//! Before a build runs, the state of its sources (paths, sizes, times) is taken; when it has succeeded, that
//! state is written to a stamp in `.plugmesh/` beside the manifest. The next start compares. This is
//! deliberately not "a source is newer than an output", which builds for ever where a build leaves an output
//! that is still good untouched, and never where a source went away.
//!
//! A lock beside the stamp keeps two hosts from building at once: the second waits, then finds the stamp.

mod run;
mod sources;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::BuildConfig;
use crate::launch::{Cause, Launcher, SpawnError};

/// Folder beside the manifest for the stamp and the lock; not for version control.
pub const STATE_DIR: &str = ".plugmesh";

/// How many of a build's last lines its error shows.
pub const KEPT_LINES: usize = 40;

/// How often a lock that somebody else holds is tried again: a build takes seconds, nobody notices.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The outputs are there, and the sources are as they were.
    Fresh,
    /// The command ran and succeeded.
    Built,
}

/// Why a plugin was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The command failed.
    #[error("the build {cause}: {command}\n{}", .output.join("\n"))]
    Failed {
        /// How it ended.
        cause: Cause,
        /// What ran.
        command: String,
        /// Its last lines, at most [`KEPT_LINES`].
        output: Vec<String>,
    },
    /// The command took too long and was killed.
    #[error("the build took longer than {} and was killed: {command}\n{}", humantime::format_duration(*.after), .output.join("\n"))]
    TimedOut {
        /// How long it had.
        after: Duration,
        /// What ran.
        command: String,
        /// Its last lines, at most [`KEPT_LINES`].
        output: Vec<String>,
    },
    /// Another host held the lock for as long as this build might take.
    #[error("another host is building it for longer than {}; it holds {}", humantime::format_duration(*.after), .lock.display())]
    Locked {
        /// How long this one waited.
        after: Duration,
        /// The lock file.
        lock: PathBuf,
    },
    /// The command succeeded without making what it should.
    #[error("the build succeeded and left no {}: {command}", .output.display())]
    NoOutput {
        /// What is missing.
        output: PathBuf,
        /// What ran.
        command: String,
    },
    /// The command could not be started.
    #[error("the build cannot start: {command}: {source}")]
    Start {
        /// What should have run.
        command: String,
        /// Why it does not.
        #[source]
        source: SpawnError,
    },
    /// A file could not be read or written.
    #[error("cannot use {}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// Builds if sources or command changed since the last success, an output is missing, or it never succeeded.
///
/// Each line that the command prints goes to `progress`, cut to a bounded length. The command gets the
/// environment of this process, no input, and a process group of its own.
///
/// Dropping the future kills the group; the next call builds again.
///
/// # Errors
///
/// When the command cannot start, fails, takes longer than `config.timeout` or leaves an output out, and
/// when files cannot be used.
pub async fn build<F>(config: &BuildConfig, launcher: &Launcher, progress: F) -> Result<Outcome, BuildError>
where
    F: Fn(&str) + Send + Sync + 'static,
{
    if stale_state(config).await?.is_none() {
        return Ok(Outcome::Fresh);
    }
    let state_dir = config.dir.join(STATE_DIR);
    std::fs::create_dir_all(&state_dir).map_err(BuildError::io(&state_dir))?;
    let _lock = lock(&state_dir.join("build.lock"), config.timeout, &progress).await?;
    // Somebody else may have built it while this one waited.
    let Some(state) = stale_state(config).await? else {
        return Ok(Outcome::Fresh);
    };
    let stamp = stamp(config);
    match std::fs::remove_file(&stamp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(BuildError::io(&stamp)(error)),
        _ => {}
    }
    run::run(config, launcher, progress).await?;
    if let Some(output) = config.outputs.iter().find(|output| !output.exists()) {
        return Err(BuildError::NoOutput { output: output.clone(), command: config.command.to_string() });
    }
    std::fs::write(&stamp, state).map_err(BuildError::io(&stamp))?;
    Ok(Outcome::Built)
}

/// Whether [`build`] would run the command now.
///
/// # Errors
///
/// When the sources cannot be read.
pub async fn is_stale(config: &BuildConfig) -> Result<bool, BuildError> {
    Ok(stale_state(config).await?.is_some())
}

fn stamp(config: &BuildConfig) -> PathBuf {
    config.dir.join(STATE_DIR).join("build.stamp")
}

/// The state of the sources, unless it is the one that was built.
async fn stale_state(config: &BuildConfig) -> Result<Option<String>, BuildError> {
    let task = {
        let config = config.clone();
        // Walking a cold disk blocks. The task ends by itself, since the walk is bounded.
        tokio::task::spawn_blocking(move || {
            let state = sources::state(&config)?;
            let built = std::fs::read_to_string(stamp(&config)).is_ok_and(|built| built == state);
            let complete = config.outputs.iter().all(|output| output.exists());
            Ok((!(built && complete)).then_some(state))
        })
    };
    task.await.map_err(|error| BuildError::io(&config.dir)(io::Error::other(error)))?
}

/// Held until the file is dropped; the system lets it go as well when the process dies.
async fn lock(path: &Path, patience: Duration, progress: &impl Fn(&str)) -> Result<File, BuildError> {
    let file = File::options().create(true).append(true).open(path).map_err(BuildError::io(path))?;
    let started = tokio::time::Instant::now();
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(BuildError::io(path)(error)),
            Err(TryLockError::WouldBlock) if started.elapsed() >= patience => {
                return Err(BuildError::Locked { after: patience, lock: path.into() });
            }
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    progress("waiting for another host that is building this plugin");
                }
                tokio::time::sleep(LOCK_RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
