//! Whose directory is this, and who else may change it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{RunDirectoryError, failed};

const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const ROOT: u32 = 0;

/// A base must be such that nobody but us and root can rename what we put there.
pub(super) fn base(path: &Path) -> Result<(), RunDirectoryError> {
    let own = rustix::process::geteuid().as_raw();
    let link = fs::symlink_metadata(path).map_err(failed("cannot use", path))?;
    if link.is_symlink() && link.uid() != own && link.uid() != ROOT {
        return Err(RunDirectoryError::ForeignLink { path: path.to_owned(), owner: link.uid() });
    }
    let directory = fs::metadata(path).map_err(failed("cannot use", path))?;
    if !directory.is_dir() {
        return Err(RunDirectoryError::NotADirectory { path: path.to_owned() });
    }
    if directory.uid() != own && directory.uid() != ROOT {
        return Err(RunDirectoryError::NotOurs { path: path.to_owned(), owner: directory.uid(), own });
    }
    let mode = directory.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(RunDirectoryError::OpenToOthers { path: path.to_owned(), mode });
    }
    Ok(())
}

/// A run directory must be ours, real and closed to others.
pub(super) fn own(path: &Path) -> Result<(), RunDirectoryError> {
    let own = rustix::process::geteuid().as_raw();
    let directory = fs::symlink_metadata(path).map_err(failed("cannot use", path))?;
    if !directory.is_dir() {
        return Err(RunDirectoryError::NotADirectory { path: path.to_owned() });
    }
    if directory.uid() != own {
        return Err(RunDirectoryError::NotOurs { path: path.to_owned(), owner: directory.uid(), own });
    }
    let mode = directory.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(RunDirectoryError::OpenToOthers { path: path.to_owned(), mode });
    }
    Ok(())
}
