//! Gives way to others.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

use super::write_through;

/// Bytes that a connection reads before others have their turn, when it has just been idle: about a dozen small
/// messages with their headers.
///
/// Many calls on one connection fall into step: one side reads all that the other has written, while that one
/// waits, and then they change places. When a dozen are handed on before the rest is read, both sides have
/// work at the same time: with 64 calls in flight on two CPUs that is half as many calls again.
const FIRST_TURN: usize = 2 * 1024;

/// What a turn grows to, doubling, while bytes keep coming and are quickly dealt with: a stream of large messages
/// is not to be slowed down by it.
const LONGEST_TURN: usize = 64 * 1024;

/// A turn that takes longer is halved the next time. Frames of nine bytes, each of which costs work and an answer,
/// make a turn a hundred times as long as large messages do, and a peer that sends nothing else holds the thread
/// for so long: a few times what a call takes.
const LONG: Duration = Duration::from_micros(250);

/// A byte stream that lets others go first after each turn, however fast its bytes come.
#[derive(Debug)]
pub(crate) struct Fair<T> {
    io: T,
    first_turn: usize,
    turn: usize,
    read: usize,
    /// Whether the turn follows another without a pause, and when it began. The first after a pause is not timed, so
    /// that who is not busy pays nothing.
    follows: bool,
    began: Option<Instant>,
    long: Duration,
}

impl<T> Fair<T> {
    /// Turns begin long: for who hands on what it reads and has little to do itself.
    pub(crate) fn new(io: T) -> Self {
        Self::of(io, LONGEST_TURN)
    }

    /// Turns begin short.
    pub(crate) fn paced(io: T) -> Self {
        Self::of(io, FIRST_TURN)
    }

    fn of(io: T, first_turn: usize) -> Self {
        Self { io, first_turn, turn: first_turn, read: 0, follows: false, began: None, long: LONG }
    }

    /// Ready unless the turn is over; then this task is woken when it has its next.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.read < self.turn {
            if self.follows && self.began.is_none() {
                self.began = Some(Instant::now());
            }
            return Poll::Ready(());
        }
        let was_long = self.began.take().is_some_and(|began| began.elapsed() > self.long);
        (self.read, self.follows) = (0, true);
        if was_long {
            self.turn = (self.turn / 2).max(FIRST_TURN);
        } else if self.turn < LONGEST_TURN {
            self.turn *= 2;
            // Behind those that were woken by what was read.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Its first poll asks the runtime to wake this task when it has also looked at every other socket.
        pin!(tokio::task::yield_now()).poll(cx)
    }

    /// Nothing is left to read for now.
    fn pause(&mut self) {
        (self.turn, self.read, self.follows, self.began) = (self.first_turn, 0, false, None);
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
            Poll::Pending => self.pause(),
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

    /// No turn is long, however slow the machine.
    fn quick<T>(io: Fair<T>) -> Fair<T> {
        Fair { long: Duration::MAX, ..io }
    }

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
        let mut io = quick(Fair::paced(tokio::io::repeat(1)));
        let turns = [(); 8].map(|()| bytes_of_a_turn(&mut io));
        // But for the first, a turn ends with the read, of 10 000 bytes here, that fills it.
        assert_eq!(turns, [2048, 10_000, 10_000, 20_000, 40_000, 70_000, 70_000, 70_000]);
    }

    #[test]
    fn turns_that_take_long_shrink_to_a_bound_and_grow_again() {
        let mut io = Fair { long: Duration::ZERO, ..Fair::new(tokio::io::repeat(1)) };
        let turns = [(); 8].map(|()| bytes_of_a_turn(&mut io));
        assert_eq!(turns, [70_000, 70_000, 40_000, 20_000, 10_000, 10_000, 2048, 2048]);
        io = quick(io);
        let turns = [(); 3].map(|()| bytes_of_a_turn(&mut io));
        assert_eq!(turns, [2048, 10_000, 10_000]);
    }

    #[tokio::test]
    async fn a_stream_that_paused_starts_small_again() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut near = quick(Fair::paced(near));
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
