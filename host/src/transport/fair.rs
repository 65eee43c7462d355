//! Gives way to others.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::write_through;

/// Bytes that a connection reads before others have their turn, when it has just been idle: about a dozen small
/// messages with their headers.
///
/// Many calls on one connection fall into step: one side reads all that the other has written, while that one
/// waits, and then they change places. When a dozen are handed on before the rest is read, both sides have
/// work at the same time: with 64 calls in flight on two CPUs that is half as many calls again.
const FIRST_TURN: usize = 2 * 1024;

/// What a turn grows to, doubling, while bytes keep coming: a stream of large messages is not to be slowed down
/// by it.
///
/// A peer that sends nothing but frames of nine bytes, each of which costs work and an answer, holds the thread
/// for a millisecond with these; with what tokio's own budget grants, 128 reads, for dozens.
const LONGEST_TURN: usize = 64 * 1024;

/// A byte stream that lets others go first after each turn, however fast its bytes come.
#[derive(Debug)]
pub(crate) struct Fair<T> {
    io: T,
    first_turn: usize,
    turn: usize,
    read: usize,
}

impl<T> Fair<T> {
    /// Every turn is the longest: for who hands on what it reads and has little to do itself.
    pub(crate) fn new(io: T) -> Self {
        Self { io, first_turn: LONGEST_TURN, turn: LONGEST_TURN, read: 0 }
    }

    /// Turns begin short.
    pub(crate) fn paced(io: T) -> Self {
        Self { io, first_turn: FIRST_TURN, turn: FIRST_TURN, read: 0 }
    }

    /// Ready unless the turn is over; then this task is woken when it has its next.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.read < self.turn {
            return Poll::Ready(());
        }
        self.read = 0;
        if self.turn < LONGEST_TURN {
            self.turn *= 2;
            // Behind those that were woken by what was read.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Its first poll asks the runtime to wake this task when it has also looked at every other socket.
        pin!(tokio::task::yield_now()).poll(cx)
    }
}

impl<T: AsyncRead + Unpin> Fair<T> {
    fn poll_some(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.turn - self.read;
        if left > FIRST_TURN || left >= buf.remaining() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let mut space = [MaybeUninit::uninit(); FIRST_TURN];
        let mut some = ReadBuf::uninit(space.get_mut(..left).unwrap_or_default());
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut some))?;
        buf.put_slice(some.filled());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Fair<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_turn(cx));
        let before = buf.filled().len();
        let poll = self.poll_some(cx, buf);
        match poll {
            Poll::Ready(_) => self.read += buf.filled().len() - before,
            Poll::Pending => (self.read, self.turn) = (0, self.first_turn),
        }
        poll
    }
}

write_through!(Fair);

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt;

    use super::*;

    fn bytes_of_a_turn(io: &mut Fair<impl AsyncRead + Unpin>) -> usize {
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
    fn turns_of_an_endless_stream_grow_to_a_bound() {
        let mut io = Fair::paced(tokio::io::repeat(1));
        let turns = [(); 8].map(|()| bytes_of_a_turn(&mut io));
        // But for the first, a turn ends with the read, of 10 000 bytes here, that fills it.
        assert_eq!(turns, [2048, 10_000, 10_000, 20_000, 40_000, 70_000, 70_000, 70_000]);
    }

    #[tokio::test]
    async fn a_stream_that_paused_starts_small_again() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut near = Fair::paced(near);
        for _ in 0..2 {
            tokio::io::AsyncWriteExt::write_all(&mut far, &[7; 5000]).await.unwrap();
            let turns = [(); 2].map(|()| bytes_of_a_turn(&mut near));
            assert_eq!(turns, [2048, 2952]);
        }
    }

    #[tokio::test]
    async fn a_turn_that_ended_goes_on_by_itself() {
        let mut io = Fair::new(tokio::io::repeat(1));
        io.read_exact(&mut vec![0; 10 * LONGEST_TURN]).await.unwrap();
    }
}
