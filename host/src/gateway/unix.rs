//! The Unix socket: private from its first moment, and reclaimed only from the dead.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};

/// Longest path of a socket: what fits `sockaddr_un` with its final NUL.
const MAX_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Connections that may wait to be accepted: what Linux grants at most by default is 4096.
const BACKLOG: u32 = 1024;

/// A listening socket, which leaves the file system when dropped.
///
/// The fields are dropped in this order: while the listener lives nobody reclaims its path, nor can its inode
/// be given to another file, so what the file compares is sound.
#[derive(Debug)]
pub(super) struct OwnedSocket {
    _file: SocketFile,
    pub(super) listener: UnixListener,
}

/// The socket's place in the file system.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode, to tell it from a socket that somebody else put in its place.
    id: Option<(u64, u64)>,
}

/// Binds `path`, mode 0600.
pub(super) fn bind(path: &Path) -> io::Result<OwnedSocket> {
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the path has {length} bytes; a socket's has {MAX_PATH} at most: choose a shorter directory"
            ),
        ));
    }
    check_directory(path)?;
    reclaim(path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile { path: path.to_owned(), id: fs::symlink_metadata(path).ok().map(id_of) };
    // Nobody can connect before `listen`, so there is no moment in which the umask decides who may.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(OwnedSocket { _file: file, listener: socket.listen(BACKLOG)? })
}

fn id_of(metadata: Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// In a directory where others may rename files, a mode of 0600 protects nothing.
fn check_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let metadata = fs::metadata(directory).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot use directory {}: {error}", directory.display()))
    })?;
    let refuse = |why: &str| {
        let text = format!("directory {} {why}", directory.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    };
    let (mode, owner) = (metadata.mode(), metadata.uid());
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return refuse("belongs to another user: choose one of your own");
    }
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return refuse("can be written by others: chmod 700 it, or choose another");
    }
    Ok(())
}

/// Removes a socket on which nobody listens any more.
fn reclaim(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing a socket that nobody listens on");
            fs::remove_file(path)
        }
        // Also when its queue is full: somebody owns it.
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).ok().map(id_of);
        if now.is_some() && now == self.id {
            // Nothing to be done about a failure: the next start reclaims it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_and_gone_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let socket = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_dead_socket_is_reclaimed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let alive = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        // As after SIGKILL: the file stays, nobody listens.
        let OwnedSocket { listener, _file } = alive;
        drop(listener);
        std::mem::forget(_file);
        bind(&path).unwrap();
    }

    #[tokio::test]
    async fn what_has_taken_the_place_of_a_socket_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let first = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    #[tokio::test]
    async fn a_directory_open_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = bind(&directory.path().join("gateway.sock")).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[tokio::test]
    async fn an_overlong_path_says_how_long_it_may_be() {
        let error = bind(Path::new(&format!("/tmp/{}", "x".repeat(200)))).unwrap_err();
        assert!(error.to_string().contains("107 at most"), "{error}");
    }
}
