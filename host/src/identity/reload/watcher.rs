//! Watches the directories on the trail to some files, and says when something happened there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::WatchError;
use super::trail::Trail;

/// How often the trail is looked at again after watching it: it may have changed in between, but not for ever.
const MAX_LOOKS: usize = 3;

/// Watches as long as it lives. The sender is dropped when its thread has ended.
pub(super) struct Watcher {
    notify: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    trail: Arc<ArcSwap<Trail>>,
}

impl Watcher {
    pub(super) fn start(paths: &[&Path], sign: mpsc::Sender<()>) -> Result<Self, WatchError> {
        let trail = Arc::new(ArcSwap::from_pointee(Trail::default()));
        let concerned = trail.clone();
        let notify = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| is_change(&event, &concerned.load())) {
                // Full: a sign is pending, and it stands for this one too. Closed: nobody listens any more.
                let _ = sign.try_send(());
            }
        })
        .map_err(|source| WatchError::Watch { dir: listed(paths), source })?;
        let mut watcher = Self { notify, watched: BTreeSet::new(), trail };
        watcher.rearm(paths)?;
        Ok(watcher)
    }

    /// Watches what is on the trail now. It blocks briefly.
    ///
    /// Every watch is made anew: one follows its directory, which may have moved away and been replaced.
    pub(super) fn rearm(&mut self, paths: &[&Path]) -> Result<(), WatchError> {
        for _ in 0..MAX_LOOKS {
            let trail = Trail::of(paths.iter().copied());
            // First, so that no event of the new watches is taken for a stranger's.
            self.trail.store(Arc::new(trail.clone()));
            for dir in std::mem::take(&mut self.watched) {
                // An error means that it is gone already.
                let _ = self.notify.unwatch(&dir);
            }
            for dir in trail.directories() {
                match self.notify.watch(&dir, RecursiveMode::NonRecursive) {
                    Ok(()) => {}
                    // Gone since the look: the next look sees that.
                    Err(error) if !dir.exists() => tracing::debug!(%error, "directory vanished"),
                    Err(source) => {
                        return Err(WatchError::Watch { dir: dir.display().to_string(), source });
                    }
                }
                self.watched.insert(dir);
            }
            if Trail::of(paths.iter().copied()) == trail {
                break;
            }
        }
        Ok(())
    }
}

/// Reading a file is an event too, ours included, and must not cause the next read.
fn is_change(event: &Event, trail: &Trail) -> bool {
    let changes = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    };
    event.need_rescan() || (changes && event.paths.iter().any(|path| trail.concerns(path)))
}

fn listed(paths: &[&Path]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
