//! The private directory of one running host: sockets, and the files that plugins are handed.

mod checks;
mod sweep;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::name::{InstanceId, InstanceName};

/// Longest path of a Unix socket in bytes, without the final NUL.
pub const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Begins the name of each run directory.
const PREFIX: &str = "plugmesh-";

/// Begins the name of one that is not locked yet, so that no other host takes it for left behind.
const UNBORN_PREFIX: &str = ".plugmesh-new-";

/// Locked for as long as the host lives.
const LOCK: &str = "lock";

/// Random characters in the name of a run directory.
const RANDOM: usize = 8;

/// Characters of an instance's id in its file names: enough to differ within one host.
const SHORT_ID: usize = 8;

/// Bytes after the directory that a socket needs at the least: `/`, a short id and `.sock`.
const LEAST_SOCKET_NAME: usize = 1 + SHORT_ID + 5;

/// A directory, mode 0700, that is this host's alone while it runs and is removed when it is dropped.
///
/// Cloning is cheap; the last clone and the last [`InstanceDirectory`] remove it.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// Its lock, given back by closing, tells others that this host lives.
    _lock: File,
}

/// The files of one incarnation of an instance, removed when dropped.
#[derive(Debug)]
pub struct InstanceDirectory {
    path: PathBuf,
    socket: PathBuf,
    address_file: PathBuf,
    _run: RunDirectory,
}

/// Where to look for a base when none is configured: `XDG_RUNTIME_DIR`, then `TMPDIR`, then `/tmp`; the first
/// that is sound and short enough wins.
#[derive(Clone, Debug, Default)]
pub struct BaseSearch {
    candidates: Vec<PathBuf>,
}

/// Why there is no run directory, or no file in it.
#[derive(Debug, thiserror::Error)]
pub enum RunDirectoryError {
    /// The base is a symbolic link of another user.
    #[error("{} is a symbolic link that user {owner} may redirect; name the directory itself", path.display())]
    ForeignLink {
        /// The base.
        path: PathBuf,
        /// Uid of its owner.
        owner: u32,
    },
    /// The path is no directory.
    #[error("{} is no directory; name one for the host's sockets", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else owns it.
    #[error("{} belongs to user {owner}, the host runs as {own}; use a directory of that user", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Uid of its owner.
        owner: u32,
        /// Uid of the host.
        own: u32,
    },
    /// Others may rename what is in it.
    #[error(
        "others may write to {} (mode {mode:04o}) and replace the host's sockets; run `chmod go-w` on it or \
         set the sticky bit", path.display()
    )]
    OpenToOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A socket below it would have a longer path than the kernel takes.
    #[error(
        "the socket path {} has {length} bytes, at most {limit} are possible; choose a shorter run directory",
        path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The greatest possible length.
        limit: usize,
    },
    /// A file name that would leave the directory.
    #[error("{0:?} is no plain file name")]
    FileName(String),
    /// The file system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl BaseSearch {
    /// Looks where `variable` points, such as `|name| std::env::var_os(name)`.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = ["XDG_RUNTIME_DIR", "TMPDIR"].into_iter().filter_map(variable).map(PathBuf::from);
        let candidates = set.chain([PathBuf::from("/tmp")]).filter(|path| path.is_absolute()).collect();
        Self { candidates }
    }

    /// Looks only at `base`.
    pub fn only(base: impl Into<PathBuf>) -> Self {
        Self { candidates: vec![base.into()] }
    }
}

impl RunDirectory {
    /// Makes a new one below the first usable base, and removes those that dead hosts left there.
    pub fn create(search: &BaseSearch) -> Result<Self, RunDirectoryError> {
        let mut first_error = None;
        for base in &search.candidates {
            match Self::create_below(base) {
                Ok(created) => return Ok(created),
                Err(error) => {
                    tracing::warn!(base = %base.display(), %error, "no run directory can be made here");
                    first_error = first_error.or(Some(error));
                }
            }
        }
        Err(first_error.unwrap_or_else(|| RunDirectoryError::NotADirectory { path: PathBuf::new() }))
    }

    fn create_below(base: &Path) -> Result<Self, RunDirectoryError> {
        checks::base(base)?;
        sweep::sweep(base);
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(RANDOM).collect();
        let path = base.join(format!("{PREFIX}{random}"));
        // A host that cannot give one instance a socket should say so now.
        fits(path.join(format!("{}.sock", "x".repeat(SHORT_ID))))?;
        let unborn = base.join(format!("{UNBORN_PREFIX}{random}"));
        make_private(&unborn)?;
        let locked = lock_file(&unborn).and_then(|lock| {
            rename_new(&unborn, &path)?;
            Ok(lock)
        });
        match locked {
            Ok(lock) => {
                let held = Arc::new(Held { path, _lock: lock });
                checks::own(&held.path)?;
                Ok(Self { held })
            }
            Err(error) => {
                let _ = fs::remove_dir_all(&unborn);
                Err(error)
            }
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// Path for a socket of the host's own, such as the gateway's.
    pub fn socket(&self, name: &str) -> Result<PathBuf, RunDirectoryError> {
        fits(self.held.path.join(format!("{name}.sock")))
    }

    /// A directory for one incarnation of an instance.
    ///
    /// Sockets are named `<instance>-<short id>.sock`; the instance is cut where that would be too long.
    pub fn instance(
        &self,
        name: &InstanceName,
        id: &InstanceId,
    ) -> Result<InstanceDirectory, RunDirectoryError> {
        // The end of an id is random, its beginning is the time.
        let short = id.as_str().get(id.as_str().len().saturating_sub(SHORT_ID)..).unwrap_or(id.as_str());
        let used = self.held.path.as_os_str().len() + LEAST_SOCKET_NAME;
        let room = MAX_SOCKET_PATH.saturating_sub(used + 1);
        let shown = name.as_str().get(..room.min(name.as_str().len())).unwrap_or_default();
        let stem = if shown.is_empty() { short.to_owned() } else { format!("{shown}-{short}") };
        let socket = fits(self.held.path.join(format!("{stem}.sock")))?;
        let path = self.held.path.join(&stem);
        make_private(&path)?;
        let address_file = self.held.path.join(format!("{stem}.address"));
        Ok(InstanceDirectory { path, socket, address_file, _run: self.clone() })
    }
}

impl InstanceDirectory {
    /// The directory for this instance's files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the instance should bind its socket; nothing is there yet. It lies in the run directory itself,
    /// as [`address_file`](Self::address_file) does, so that one watch serves all instances.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where the instance should write its address when it listens on TCP; nothing is there yet.
    pub fn address_file(&self) -> &Path {
        &self.address_file
    }

    /// Writes a new file, mode 0600, and answers its path. `name` must be a plain file name not yet used.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<PathBuf, RunDirectoryError> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(RunDirectoryError::FileName(name.to_owned()));
        }
        let path = self.path.join(name);
        let written = new_file(&path).and_then(|mut file| file.write_all(contents));
        written.map_err(failed("cannot write", &path))?;
        Ok(path)
    }
}

impl Drop for InstanceDirectory {
    fn drop(&mut self) {
        // A plugin may have removed some of it itself.
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_file(&self.address_file);
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "the run directory could not be removed");
        }
    }
}

fn fits(path: PathBuf) -> Result<PathBuf, RunDirectoryError> {
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        return Err(RunDirectoryError::TooLong { path, length, limit: MAX_SOCKET_PATH });
    }
    Ok(path)
}

fn make_private(path: &Path) -> Result<(), RunDirectoryError> {
    DirBuilder::new().mode(0o700).create(path).map_err(failed("cannot create", path))
}

fn lock_file(directory: &Path) -> Result<File, RunDirectoryError> {
    let path = directory.join(LOCK);
    let lock = new_file(&path).map_err(failed("cannot create", &path))?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&lock, operation).map_err(|error| failed("cannot lock", &path)(error.into()))?;
    Ok(lock)
}

/// Renames, and fails where something is already: also an empty directory, which a plain rename replaces.
fn rename_new(from: &Path, to: &Path) -> Result<(), RunDirectoryError> {
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags) {
        // Some file systems do not know the flag; 48 random bits have to do there.
        Err(rustix::io::Errno::INVAL) => fs::rename(from, to).map_err(failed("cannot create", to)),
        other => other.map_err(|error| failed("cannot create", to)(error.into())),
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> RunDirectoryError {
    let path = path.to_owned();
    move |source| RunDirectoryError::Io { what, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
