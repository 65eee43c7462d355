//! The default socket of a user: the one that `serve` listens on and every other command looks for.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::address::HostAddress;

/// Name of the socket in its directory.
const SOCKET: &str = "gateway.sock";

/// Mode of the directory: nobody but its owner may even look inside.
const PRIVATE: u32 = 0o700;

/// Why the default directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("cannot use {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} belongs to user {owner}, and this is user {user}")]
    Foreign { path: PathBuf, owner: u32, user: u32 },
    #[error("{path} is not a directory")]
    NotADirectory { path: PathBuf },
    #[error("{path} is open to other users (mode {mode:o})")]
    Open { path: PathBuf, mode: u32 },
}

impl PlaceError {
    /// What to do next.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::Open { path, .. } => format!("chmod 700 {}", super::shell::quote(&path.to_string_lossy())),
            Self::Io { .. } | Self::Foreign { .. } | Self::NotADirectory { .. } => {
                "name another socket with --host or PLUGMESH_HOST (serve: --gateway)".to_owned()
            }
        }
    }
}

/// The default directory: `plugmesh` under `XDG_RUNTIME_DIR`, else `/tmp/plugmesh-<uid>`.
pub(crate) fn default_directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        Some(dir) => dir.join("plugmesh"),
        None => PathBuf::from(format!("/tmp/plugmesh-{}", user())),
    }
}

/// The default address. A directory that is there but not this user's is an error: another user could
/// have put a socket there to be called with what is meant for this user's host.
pub(crate) fn default_address() -> Result<HostAddress, PlaceError> {
    let directory = default_directory();
    match check(&directory) {
        Ok(()) => {}
        Err(PlaceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(HostAddress::Unix(directory.join(SOCKET)))
}

/// Makes the directory of the default address, private to this user.
pub(crate) fn prepare(directory: &Path) -> Result<(), PlaceError> {
    match std::fs::DirBuilder::new().mode(PRIVATE).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(PlaceError::Io { path: directory.to_owned(), source }),
    }
    check(directory)
}

fn check(directory: &Path) -> Result<(), PlaceError> {
    let path = directory.to_owned();
    // Not following links: a link of somebody else's in /tmp may point at a directory of ours.
    let found = match std::fs::symlink_metadata(directory) {
        Ok(found) => found,
        Err(source) => return Err(PlaceError::Io { path, source }),
    };
    let user = user();
    if !found.is_dir() {
        Err(PlaceError::NotADirectory { path })
    } else if found.uid() != user {
        Err(PlaceError::Foreign { path, owner: found.uid(), user })
    } else if found.mode() & 0o077 != 0 {
        Err(PlaceError::Open { path, mode: found.mode() & 0o777 })
    } else {
        Ok(())
    }
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_directory_is_private_and_an_old_one_is_taken() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("plugmesh");
        prepare(&directory).unwrap();
        prepare(&directory).unwrap();
        assert_eq!(std::fs::metadata(&directory).unwrap().mode() & 0o777, PRIVATE);
    }

    #[test]
    fn a_directory_that_others_can_reach_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("plugmesh");
        prepare(&directory).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = prepare(&directory).unwrap_err();
        assert_eq!(error.to_string(), format!("{} is open to other users (mode 755)", directory.display()));
        assert_eq!(error.help(), format!("chmod 700 {}", directory.display()));
    }

    #[test]
    fn a_link_is_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let (real, link) = (base.path().join("real"), base.path().join("plugmesh"));
        prepare(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(prepare(&link), Err(PlaceError::NotADirectory { .. })));
    }
}
