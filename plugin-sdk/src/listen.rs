//! The listening side: a Unix socket, or TCP with mTLS.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::settings::Listen;

pub(crate) mod tls;

/// Connections that wait to be accepted. A host opens a handful; the system cuts this to its own limit.
const BACKLOG: i32 = 1024;

/// Tries at a fresh directory before giving up: more than leftovers of one process id.
const FRESH_TRIES: u32 = 16;

/// A bound listener. Its socket file is removed when this is dropped.
pub(crate) enum Listener {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// An accepted connection. TLS is not yet spoken on it.
pub(crate) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
}

/// A socket in the file system, and the directory made for it, if one was.
pub(crate) struct SocketFile {
    path: PathBuf,
    directory: Option<PathBuf>,
}

impl Listener {
    /// Binds. `name` is the plugin's, for a fresh address.
    pub(crate) async fn bind(listen: &Listen, name: &str) -> Result<Self, Error> {
        match listen {
            Listen::Unix(path) => bind_unix(SocketFile { path: path.clone(), directory: None }),
            Listen::Fresh => bind_unix(fresh(name)?),
            Listen::Tls(address, files) => {
                let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(files)?));
                Ok(Self::Tcp(bind_tcp(*address).await?, Some(acceptor)))
            }
            Listen::Loopback(address) => Ok(Self::Tcp(bind_tcp(*address).await?, None)),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Self::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                // Small answers must not wait for the peer's delayed acknowledgement.
                stream.set_nodelay(true)?;
                Ok(match tls {
                    Some(acceptor) => Accepted::Tls(stream, acceptor.clone()),
                    None => Accepted::Tcp(stream),
                })
            }
        }
    }

    /// The address in the form of `PLUGMESH_LISTEN`, the port being the bound one.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Unix(_, file) => format!("unix://{}", file.path.display()),
            Self::Tcp(listener, _) => {
                listener.local_addr().map_or_else(|_| "tcp://?".into(), |address| format!("tcp://{address}"))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already when the host has cleared its run directory.
        let _ = fs::remove_file(&self.path);
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Writes `address` where the host waits for it, in one step: it never reads half of it.
pub(crate) fn write_address(file: &Path, address: &str) -> Result<(), Error> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let failed = |action| move |source| Error::File { action, path: file.into(), source };
    fs::write(&beside, address).map_err(failed("write the bound address beside"))?;
    fs::rename(&beside, file).map_err(failed("rename the bound address to"))
}

async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address: format!("tcp://{address}"), source })
}

fn bind_unix(file: SocketFile) -> Result<Listener, Error> {
    let failed = |source| Error::Listen { address: format!("unix://{}", file.path.display()), source };
    let listener = match listen_unix(&file.path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(&file.path) => {
            fs::remove_file(&file.path).and_then(|()| listen_unix(&file.path))
        }
        bound => bound,
    };
    let listener = listener.and_then(UnixListener::from_std).map_err(failed)?;
    Ok(Listener::Unix(listener, file))
}

fn listen_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let address = SocketAddrUnix::new(path).map_err(|error| match error {
        rustix::io::Errno::NAMETOOLONG => io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path of a Unix socket has 107 bytes at most (103 on macOS)",
        ),
        other => other.into(),
    })?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &address)?;
    // Between bind and listen nobody can connect, so that nobody comes in under the wider mode.
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Whether the socket at `path` belongs to nobody any more.
fn is_left_over(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// A socket path in a new directory that nobody else can enter.
fn fresh(name: &str) -> Result<SocketFile, Error> {
    let base = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|base| base.is_absolute() && base.is_dir())
        .unwrap_or_else(std::env::temp_dir);
    let id = std::process::id();
    let mut tried = 0;
    loop {
        let directory = base.join(format!("plugmesh-{name}-{id}.{tried}"));
        tried += 1;
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(SocketFile { path: directory.join("socket"), directory: Some(directory) }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < FRESH_TRIES => {}
            Err(source) => return Err(Error::File { action: "make the directory", path: directory, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_unix_socket_is_its_owner_s_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = Listener::bind(&Listen::Unix(path.clone()), "x").await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_left_over_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&Listen::Unix(path.clone()), "x").await.unwrap();
        let Err(error) = Listener::bind(&Listen::Unix(path.clone()), "x").await else {
            panic!("bound twice");
        };
        assert!(
            error.to_string().starts_with(&format!("cannot listen on unix://{}: ", path.display())),
            "{error}"
        );
        drop(listener);
    }

    #[tokio::test]
    async fn an_overlong_path_is_explained() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(108)));
        let Err(error) = Listener::bind(&Listen::Unix(path), "x").await else {
            panic!("bound");
        };
        assert!(error.to_string().ends_with("107 bytes at most (103 on macOS)"), "{error}");
    }

    #[test]
    fn the_address_file_appears_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("address");
        write_address(&file, "tcp://127.0.0.1:7").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "tcp://127.0.0.1:7");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
