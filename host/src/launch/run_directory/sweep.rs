//! Removing what dead hosts left behind.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{LOCK, PREFIX, UNBORN_PREFIX, checks};

/// Age after which a directory that never got its lock belongs to nobody: its making takes microseconds.
const UNBORN_AGE: Duration = Duration::from_secs(600);

/// Removes every run directory of ours below `base` whose lock nobody holds. What cannot be removed stays;
/// it is in nobody's way.
pub(super) fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = entry.path();
        let is_left = (name.starts_with(PREFIX) && is_left(&path))
            || (name.starts_with(UNBORN_PREFIX) && is_stillborn(&path));
        if is_left {
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed the run directory of a dead host"),
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "cannot remove an old run directory");
                }
            }
        }
    }
}

fn is_left(path: &Path) -> bool {
    checks::own(path).is_ok() && nobody_locks(path)
}

fn is_stillborn(path: &Path) -> bool {
    let age = fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
    let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    checks::own(path).is_ok() && age.is_some_and(|age| age > UNBORN_AGE)
}

/// Without a lock file it is no run directory, but something else with such a name.
fn nobody_locks(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Ok(lock) = rustix::fs::open(path.join(LOCK), flags, Mode::empty()).map(File::from) else {
        return false;
    };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}
