//! One host for each socket.
//!
//! The lock is a `flock` on `<socket>.lock`, which the kernel gives up when its holder dies, however it
//! dies. The file stays: removing it would let two hosts hold locks on two files of one name.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::human;

/// Most that is read of a lock file: it holds one line, whoever wrote it.
const MAX_OWNER_BYTES: u64 = 256;

/// How often [`released`] looks. A lock has no event for its release, and waiting inside `flock` could
/// not be interrupted.
const RELEASE_POLL: Duration = Duration::from_millis(20);

/// The right to serve on a socket; given up when dropped.
#[derive(Debug)]
#[must_use = "the lock is given up when this is dropped"]
pub(crate) struct Lock {
    // Held open, never read: the lock lives as long as this descriptor and its copies.
    _file: File,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Process id.
    pub(crate) pid: u32,
    /// When it took the lock.
    pub(crate) since: SystemTime,
}

/// Why a lock was not got.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("a host is already running at unix://{socket}: {}", Self::who(.owner))]
    Held { socket: PathBuf, owner: Option<Owner> },
    #[error("cannot lock {path}")]
    Io { path: PathBuf, source: io::Error },
}

impl Lock {
    /// Takes the lock of `socket`, or says who holds it. Never waits.
    pub(crate) fn acquire(socket: &Path) -> Result<Self, LockError> {
        let path = lock_path(socket);
        let failed = |source| LockError::Io { path: path.clone(), source };
        let mut file = open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held { socket: socket.to_owned(), owner: Owner::read(&mut file) });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let owner = Owner { pid: std::process::id(), since: SystemTime::now() };
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        file.write_all(owner.to_string().as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

impl LockError {
    fn who(owner: &Option<Owner>) -> String {
        let Some(owner) = owner else { return "it is just starting".to_owned() };
        let age = SystemTime::now().duration_since(owner.since).unwrap_or_default();
        let since = humantime::format_rfc3339_seconds(owner.since);
        format!("process {}, since {since} ({} ago)", owner.pid, human::span(age))
    }
}

impl Owner {
    /// What the holder wrote; nothing while it has not written yet.
    fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.take(MAX_OWNER_BYTES).read_to_string(&mut text).ok()?;
        let (pid, since) = text.trim_end().strip_prefix("pid ")?.split_once(" since ")?;
        Some(Self { pid: pid.parse().ok()?, since: humantime::parse_rfc3339(since).ok()? })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pid {} since {}", self.pid, humantime::format_rfc3339_seconds(self.since))
    }
}

/// Waits until nobody holds the lock of `socket`. At once when there is no lock file. May be dropped at
/// any time.
pub(crate) async fn released(socket: &Path) -> io::Result<()> {
    let file = match File::open(lock_path(socket)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    loop {
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(RELEASE_POLL).await,
            Err(error) => return Err(error.into()),
        }
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = OsString::from(socket);
    path.push(".lock");
    path.into()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Somebody else's link in a shared directory must not make us write elsewhere.
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds() {
        let base = tempfile::tempdir().unwrap();
        let socket = base.path().join("gateway.sock");
        let held = Lock::acquire(&socket).unwrap();
        let error = Lock::acquire(&socket).unwrap_err();
        let LockError::Held { owner: Some(owner), .. } = &error else { panic!("{error:?}") };
        assert_eq!(owner.pid, std::process::id());
        assert!(owner.since.elapsed().unwrap() < Duration::from_secs(60));
        let text = error.to_string();
        let start = format!(
            "a host is already running at unix://{}: process {}, since 2",
            socket.display(),
            owner.pid
        );
        assert!(text.starts_with(&start) && text.ends_with(" ago)"), "{text}");
        drop(held);
        let _again = Lock::acquire(&socket).unwrap();
    }

    #[test]
    fn what_an_earlier_holder_left_behind_does_not_matter() {
        let base = tempfile::tempdir().unwrap();
        let socket = base.path().join("gateway.sock");
        std::fs::write(lock_path(&socket), "x".repeat(1 << 20)).unwrap();
        let _held = Lock::acquire(&socket).unwrap();
        let written = std::fs::read_to_string(lock_path(&socket)).unwrap();
        assert!(written.starts_with(&format!("pid {} since ", std::process::id())), "{written}");
    }

    #[test]
    fn a_holder_that_has_not_said_who_it_is_is_still_a_holder() {
        let base = tempfile::tempdir().unwrap();
        let socket = base.path().join("gateway.sock");
        let file = open(&lock_path(&socket)).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        let error = Lock::acquire(&socket).unwrap_err();
        assert!(error.to_string().ends_with(": it is just starting"), "{error}");
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let (socket, precious) = (base.path().join("gateway.sock"), base.path().join("precious"));
        std::fs::write(&precious, "keep").unwrap();
        std::os::unix::fs::symlink(&precious, lock_path(&socket)).unwrap();
        assert!(matches!(Lock::acquire(&socket), Err(LockError::Io { .. })));
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "keep");
    }

    #[tokio::test]
    async fn release_is_noticed() {
        let base = tempfile::tempdir().unwrap();
        let socket = base.path().join("gateway.sock");
        released(&socket).await.unwrap();
        let held = Lock::acquire(&socket).unwrap();
        let mut wait = std::pin::pin!(released(&socket));
        assert!(futures_util::poll!(wait.as_mut()).is_pending());
        drop(held);
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap().unwrap();
    }
}
