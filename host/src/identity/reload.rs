//! Certificate files that are renewed under a running host.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::files::{Contents, Credentials};
use super::{TlsError, TlsFiles};

#[cfg(test)]
mod tests;
mod trail;
mod watcher;

use watcher::Watcher;

/// How long to wait after the first sign of a change before reading: renewal writes two or three files one
/// after the other, and half of a renewal is not worth a warning. Later signs do not prolong it.
const SETTLE: Duration = Duration::from_millis(75);

/// Something made from certificate files, which is made anew whenever their contents change.
///
/// Files may be overwritten, renamed over, or reached through symbolic links that change, as Kubernetes does
/// it; each link on the way is watched. What cannot be used is reported as a warning, and the last good value
/// stays. This is the owner: dropping it ends the watch, and readers keep the last value. One costs an
/// inotify instance on Linux, of which a user has 128 by default: make one per set of files, not per
/// connection.
pub struct Watched<T> {
    current: Current<T>,
    fault: watch::Receiver<Option<Arc<WatchError>>>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

/// A reader of a [`Watched`] value. Cloning is cheap.
pub struct Current<T> {
    value: Arc<ArcSwap<T>>,
    version: watch::Receiver<u64>,
}

/// Files could not be used or watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// They cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// They cannot be watched.
    #[error(
        "cannot watch {dir} for renewed certificates: {source}; on Linux, fs.inotify.max_user_instances and \
         max_user_watches bound how many watches a user has"
    )]
    Watch {
        /// The directory, or a list of the files when there is no one directory to blame.
        dir: String,
        /// What the system says.
        source: notify::Error,
    },
}

/// What reading the files yielded.
enum Read {
    New,
    Same,
}

type Build<T> = dyn Fn(Credentials) -> Result<T, TlsError> + Send + Sync;

/// All that reading anew needs; it travels to a blocking thread and back.
struct Reloader<T> {
    files: TlsFiles,
    build: Box<Build<T>>,
    watcher: Watcher,
    /// What was read last, good or bad, so that the same contents are neither built nor reported twice.
    seen: Option<Contents>,
    fault: watch::Sender<Option<Arc<WatchError>>>,
    value: Arc<ArcSwap<T>>,
    version: watch::Sender<u64>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads `files`, makes the first value, and watches from then on. It blocks briefly.
    ///
    /// # Errors
    /// When the files cannot be used or watched; nothing is left running.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn start(
        files: TlsFiles,
        build: impl Fn(Credentials) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, WatchError> {
        // One sign is as good as many: a full queue means that a read is due anyway.
        let (sign, signs) = mpsc::channel(1);
        // Before the first read, so that no change falls between the two.
        let watcher = Watcher::start(&files.paths(), sign)?;
        let contents = files.read().map_err(TlsError::File)?;
        let first = build(files.check(&contents).map_err(TlsError::File)?)?;
        let value = Arc::new(ArcSwap::from_pointee(first));
        let (version, versions) = watch::channel(1);
        let (fault, faults) = watch::channel(None);
        let current = Current { value: value.clone(), version: versions };
        let seen = Some(contents);
        let reloader = Reloader { files, build: Box::new(build), watcher, seen, fault, value, version };
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow(reloader, signs, stop.clone()));
        Ok(Self { current, fault: faults, task, stop: stop.drop_guard() })
    }
}

impl<T> Watched<T> {
    /// A reader, which may outlive this owner.
    pub fn current(&self) -> Current<T> {
        self.current.clone()
    }

    /// The value now.
    pub fn load(&self) -> Arc<T> {
        self.current.load()
    }

    /// Why what the files hold now is not in use, or `None` when it is.
    pub fn fault(&self) -> watch::Receiver<Option<Arc<WatchError>>> {
        self.fault.clone()
    }

    /// Ends the watch and waits until its task and thread are gone. Cancelling this does not undo the end.
    pub async fn stop(self) {
        drop(self.stop);
        // An error means that the task panicked, and so is gone as well.
        let _ = self.task.await;
    }
}

impl<T> Current<T> {
    /// A value that never changes, for who takes a reader and has no files.
    pub fn fixed(value: Arc<T>) -> Self {
        Self::over(Arc::new(ArcSwap::new(value)))
    }

    /// Reads what somebody else swaps. The version does not follow.
    pub fn over(value: Arc<ArcSwap<T>>) -> Self {
        Self { value, version: watch::channel(1).1 }
    }

    /// The value now. It never waits.
    pub fn load(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// The version of the value: 1 at first, and one more after each renewal.
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Waits for a version that this reader has not seen by this method, and returns it with the value, which
    /// may be newer still. A clone has seen what its original had.
    ///
    /// `None` when there is none and never will be, because the owner is gone. Cancelling it loses nothing.
    pub async fn changed(&mut self) -> Option<(u64, Arc<T>)> {
        self.version.changed().await.ok()?;
        let version = *self.version.borrow_and_update();
        Some((version, self.load()))
    }
}

async fn follow<T: Send + Sync + 'static>(
    mut reloader: Reloader<T>,
    mut signs: mpsc::Receiver<()>,
    stop: CancellationToken,
) {
    while let Some(true) = stop.run_until_cancelled(settled(&mut signs)).await {
        let reread = tokio::task::spawn_blocking(move || {
            reloader.reread();
            reloader
        });
        match reread.await {
            Ok(back) => reloader = back,
            Err(error) => {
                tracing::error!(%error, "no longer watching certificate files: reading them panicked");
                return;
            }
        }
    }
    drop(reloader);
    // The watcher's thread holds the sender: the end of the queue is the end of the thread.
    while signs.recv().await.is_some() {}
}

/// Waits for a sign of change and then until it has settled; `false` when no sign will come any more.
async fn settled(signs: &mut mpsc::Receiver<()>) -> bool {
    if signs.recv().await.is_none() {
        return false;
    }
    tokio::time::sleep(SETTLE).await;
    // What is read from here on includes what this sign is about.
    let _ = signs.try_recv();
    true
}

impl<T> Reloader<T> {
    fn reread(&mut self) {
        // Before reading, so that a change after it is seen.
        let watching = self.watcher.rearm(&self.files.paths());
        let reading = self.reload().map_err(WatchError::Tls);
        match watching.and(reading) {
            Ok(Read::New) => {
                self.fault.send_replace(None);
            }
            // What is wrong with these contents still is; but the directories can be watched.
            Ok(Read::Same) => {
                self.fault.send_if_modified(|fault| {
                    fault.take_if(|error| matches!(**error, WatchError::Watch { .. })).is_some()
                });
            }
            Err(error) => self.report(error),
        }
    }

    fn reload(&mut self) -> Result<Read, TlsError> {
        let seen = self.seen.take();
        let contents = self.files.read()?;
        if seen.as_ref() == Some(&contents) {
            self.seen = seen;
            return Ok(Read::Same);
        }
        let checked = self.files.check(&contents);
        self.seen = Some(contents);
        let value = (self.build)(checked?)?;
        self.value.store(Arc::new(value));
        self.version.send_modify(|version| *version += 1);
        tracing::info!(
            cert = %self.files.cert.display(),
            version = *self.version.borrow(),
            "renewed certificates are in use"
        );
        Ok(Read::New)
    }

    fn report(&self, error: WatchError) {
        let known = self.fault.borrow().as_ref().is_some_and(|fault| fault.to_string() == error.to_string());
        if !known {
            tracing::warn!(%error, "keeping the previous certificates, as there is trouble with their files");
            self.fault.send_replace(Some(Arc::new(error)));
        }
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), version: self.version.clone() }
    }
}

impl<T> fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.current).finish()
    }
}
