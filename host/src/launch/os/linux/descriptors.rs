//! Descriptors that come by number, and descriptors that a runtime watches.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::FileType;
use rustix::io::FdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime say when `fd` is readable. Must be called within a runtime with I/O.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays the same open descriptor for as long as the `AsyncFd` owns it, and nothing
    // here replaces it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

/// Takes over the inherited pipe `number`, and keeps it from children. Call it once for a number, before
/// anything else in the process could have opened a descriptor there.
pub(crate) fn adopt_pipe(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a standard descriptor is no lifeline"));
    }
    // SAFETY: only borrowed for asking; an unused number answers EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) != FileType::Fifo {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the lifeline descriptor is no pipe"));
    }
    rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    // SAFETY: it is open and a pipe, and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
