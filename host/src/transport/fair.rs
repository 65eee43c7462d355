//! Gives way to other connections.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a connection reads in a row before others have their turn. One message of usual size passes
/// whole. A peer that sends nothing but frames of nine bytes, each of which costs work and an answer, holds
/// the thread for a millisecond with these; with what tokio's own budget grants, 128 reads, for dozens.
const TURN: usize = 64 * 1024;

/// A byte stream that lets others go first after each [`TURN`], however fast its bytes come.
#[derive(Debug)]
pub(crate) struct Fair<T> {
    io: T,
    read: usize,
}

impl<T> Fair<T> {
    pub(crate) fn new(io: T) -> Self {
        Self { io, read: 0 }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Fair<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= TURN {
            self.read = 0;
            // Its first poll asks the runtime to wake this task when the others have had their turn.
            if pin!(tokio::task::yield_now()).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        match poll {
            Poll::Ready(_) => self.read += buf.filled().len() - before,
            Poll::Pending => self.read = 0,
        }
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Fair<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn bytes_until_pending(io: &mut Fair<impl AsyncRead + Unpin>) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = 0;
        loop {
            let mut space = [0; 10_000];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut *io).poll_read(&mut cx, &mut buf) {
                Poll::Pending => return read,
                Poll::Ready(result) => result.unwrap(),
            }
            read += buf.filled().len();
        }
    }

    #[test]
    fn an_endless_stream_is_read_in_turns() {
        let mut io = Fair::new(tokio::io::repeat(1));
        assert_eq!(bytes_until_pending(&mut io), 70_000);
        assert_eq!(bytes_until_pending(&mut io), 70_000);
    }

    #[tokio::test]
    async fn a_turn_that_ended_goes_on_by_itself() {
        use tokio::io::AsyncReadExt;
        let mut io = Fair::new(tokio::io::repeat(1));
        io.read_exact(&mut vec![0; 10 * TURN]).await.unwrap();
    }
}
