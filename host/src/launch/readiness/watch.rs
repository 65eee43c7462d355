//! One inotify descriptor for all waits of a host: the kernel allows a user about a hundred of them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Armed, Awaited};
use crate::launch::os::descriptors;
use crate::launch::reaper::lock;

/// Bytes of events read at once: at least one event with the longest name.
const EVENT_BYTES: usize = 4096;

/// Notices files as they appear. One for a host; cloning is cheap, and the last clone ends its task.
#[derive(Clone, Debug)]
pub struct Arrivals {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    inotify: AsyncFd<OwnedFd>,
    watched: Mutex<Watched>,
}

/// Directories with those who wait for a file in them. An entry lives as long as somebody waits.
#[derive(Debug, Default)]
struct Watched {
    directories: HashMap<i32, HashMap<OsString, Arc<Notify>>>,
}

/// A file that somebody waits for.
#[derive(Debug)]
pub(super) struct Interest {
    shared: Arc<Shared>,
    path: PathBuf,
    watch: i32,
    name: OsString,
    arrived: Arc<Notify>,
    // The task must run for as long as somebody waits.
    _arrivals: Arrivals,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Arrivals {
    /// Starts the task that notices. Must be called within a runtime with I/O.
    pub fn start() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let shared =
            Arc::new(Shared { inotify: descriptors::watch_readable(inotify)?, watched: Mutex::default() });
        let reads = Arc::clone(&shared);
        let task = tokio::spawn(async move { reads.run().await });
        Ok(Self { inner: Arc::new(Inner { shared, task }) })
    }

    /// Prepares a wait, before the process starts. The directory must exist; the file should not.
    pub fn arm(&self, awaited: Awaited) -> io::Result<Armed> {
        let path = awaited.path().to_owned();
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no path of a file"));
        };
        let (shared, arrived) = (Arc::clone(&self.inner.shared), Arc::new(Notify::new()));
        let watch = shared.add(directory, name, &arrived)?;
        let name = name.to_owned();
        let interest = Interest { shared, path, watch, name, arrived, _arrivals: self.clone() };
        if interest.path.exists() {
            interest.arrived.notify_one();
        }
        Ok(Armed { awaited, interest })
    }
}

impl Interest {
    /// Waits for the next time that the file may be there.
    pub(super) async fn arrived(&mut self) {
        self.arrived.notified().await;
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut watched = lock(&self.shared.watched);
        let Some(names) = watched.directories.get_mut(&self.watch) else { return };
        names.remove(&self.name);
        if names.is_empty() {
            watched.directories.remove(&self.watch);
            // Under the lock, so that nobody adds it again in between. It fails when the directory is gone.
            let _ = inotify::remove_watch(self.shared.inotify.get_ref(), self.watch);
        }
    }
}

impl Shared {
    fn add(&self, directory: &Path, name: &OsStr, arrived: &Arc<Notify>) -> io::Result<i32> {
        // A file that is written in place counts once it is closed.
        let what = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR;
        let mut watched = lock(&self.watched);
        let watch = inotify::add_watch(self.inotify.get_ref(), directory, what)?;
        let names = watched.directories.entry(watch).or_default();
        if names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this file is awaited already"));
        }
        names.insert(name.to_owned(), Arc::clone(arrived));
        Ok(watch)
    }

    async fn run(&self) {
        loop {
            let Ok(mut ready) = self.inotify.readable().await else { return };
            let mut buffer = [const { MaybeUninit::uninit() }; EVENT_BYTES];
            let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
            loop {
                match events.next() {
                    Ok(event) => self.tell(&event),
                    Err(rustix::io::Errno::AGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => {
                        tracing::error!(%error, "files of plugins can no longer be watched");
                        return;
                    }
                }
            }
        }
    }

    fn tell(&self, event: &inotify::Event<'_>) {
        let watched = lock(&self.watched);
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            // Some were lost: everyone looks for himself.
            watched.directories.values().flat_map(HashMap::values).for_each(|arrived| arrived.notify_one());
            return;
        }
        let Some(name) = event.file_name() else { return };
        let names = watched.directories.get(&event.wd());
        if let Some(arrived) = names.and_then(|names| names.get(OsStr::from_bytes(name.to_bytes()))) {
            arrived.notify_one();
        }
    }
}
