//! The lifeline: an inherited descriptor that reads end-of-file when the host is gone, however it went.

// Taking a descriptor that is known by its number only has no safe form, nor has watching one.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches one lifeline.
pub(crate) struct Lifeline(AsyncFd<OwnedFd>);

impl Lifeline {
    /// Takes a copy of the inherited descriptor `number`. Must be called within a tokio runtime.
    pub(crate) fn inherited(number: i32) -> io::Result<Self> {
        // SAFETY: the number is 3 or more (checked where it was parsed), so never -1. It is used for three
        // system calls at once, none of which closes it, reads it or writes it; where it is not open they
        // fail with EBADF. Only the copy, which is ours, is kept.
        let inherited = unsafe { BorrowedFd::borrow_raw(number) };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(inherited)?.st_mode);
        if !matches!(kind, FileType::Fifo | FileType::Socket) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a pipe nor a socket"));
        }
        let copy = rustix::io::fcntl_dupfd_cloexec(inherited, 3)?;
        // Children of the plugin have no use for it.
        rustix::io::fcntl_setfd(inherited, rustix::io::FdFlags::CLOEXEC)?;
        // SAFETY: an OwnedFd keeps its descriptor open, and the same, for as long as it lives.
        let watched = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) };
        Ok(Self(watched.map_err(|error| error.into_parts().1)?))
    }

    /// Returns when the other end is closed.
    pub(crate) async fn cut(&self) {
        // The descriptor may be shared with other plugins, so it is never read, and its blocking mode,
        // which they would share too, is left alone: the poller alone says what is to know.
        while let Ok(mut ready) = self.0.readable().await {
            if ready.ready().is_read_closed() || ready.ready().is_error() {
                return;
            }
            ready.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn is_cut_when_the_last_writer_is_gone_and_not_by_data() {
        let (reader, mut writer) = io::pipe().unwrap();
        let lifeline = Lifeline::inherited(reader.as_raw_fd()).unwrap();
        writer.write_all(b"noise").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), lifeline.cut()).await.is_err());
        drop(writer);
        tokio::time::timeout(Duration::from_secs(10), lifeline.cut()).await.unwrap();
    }

    #[tokio::test]
    async fn a_number_that_is_not_open_or_no_pipe_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(Lifeline::inherited(file.as_raw_fd()).is_err());
        assert!(Lifeline::inherited(1_000_000).is_err());
    }
}
