//! Waiting for others on their descriptors: for input that may never come, and for readers that leave.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

/// Pieces read ahead: one is being used while the next is read.
const READ_AHEAD: usize = 4;

/// Longest line of an answer to a question.
const MAX_LINE: u64 = 1024;

/// Reads pieces of something on a thread of its own, since a terminal cannot be read without blocking.
///
/// Dropping it ends the thread and waits for that.
#[derive(Debug)]
pub(crate) struct Reading<T> {
    // In the order in which they must go: the thread may wait for room in the queue, or for input.
    pieces: Option<mpsc::Receiver<T>>,
    stop: Option<io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

/// Reads until the other end of `stopped` is closed, even while there is nothing to read.
#[derive(Debug)]
pub(crate) struct Interruptible<S> {
    source: S,
    stopped: io::PipeReader,
}

impl<T: Send + 'static> Reading<T> {
    /// Has `read` take the source to pieces. It is to return when a piece is not taken.
    pub(crate) fn start<S: AsFd + Send + 'static>(
        source: S,
        read: impl FnOnce(Interruptible<S>, &mpsc::Sender<T>) + Send + 'static,
    ) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let (sender, pieces) = mpsc::channel(READ_AHEAD);
        let thread = std::thread::Builder::new()
            .name("input".into())
            .spawn(move || read(Interruptible { source, stopped }, &sender))?;
        Ok(Self { pieces: Some(pieces), stop: Some(stop), thread: Some(thread) })
    }

    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self) -> Option<T> {
        self.pieces.as_mut()?.recv().await
    }
}

impl<T> Drop for Reading<T> {
    fn drop(&mut self) {
        drop(self.pieces.take());
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to report; a panic in it has been printed.
            let _ = thread.join();
        }
    }
}

impl<S: AsFd> Interruptible<S> {
    /// Waits for `wanted`, an error or a hang-up, and says whether one of them is there. If not, nobody waits for it
    /// any more.
    fn is_there(&self, wanted: PollFlags) -> io::Result<bool> {
        loop {
            let mut waiting = [PollFd::new(&self.source, wanted), PollFd::new(&self.stopped, PollFlags::IN)];
            match poll(&mut waiting, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [source, stopped] = waiting.map(|it| !it.revents().is_empty());
            if source || stopped {
                return Ok(!stopped);
            }
        }
    }
}

impl<S: AsFd + Read> Read for Interruptible<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.is_there(PollFlags::IN)? {
            true => self.source.read(buffer),
            false => Ok(0),
        }
    }
}

/// All of a source, or one byte more than `most`.
pub(crate) async fn whole(source: impl AsFd + Read + Send + 'static, most: usize) -> io::Result<Vec<u8>> {
    let read = move |source: Interruptible<_>, sender: &mpsc::Sender<_>| {
        let mut all = Vec::new();
        let read = source.take(most as u64 + 1).read_to_end(&mut all);
        // Nobody waits for it any more when it is not taken.
        let _ = sender.blocking_send(read.map(|_| all));
    };
    let mut reading = Reading::start(source, read)?;
    reading.next().await.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

/// The next line of a source, which loses what was read of it beyond that.
pub(crate) async fn line(source: impl AsFd + Read + Send + 'static) -> io::Result<String> {
    let read = |source: Interruptible<_>, sender: &mpsc::Sender<_>| {
        let mut line = String::new();
        let read = io::BufRead::read_line(&mut io::BufReader::new(source.take(MAX_LINE)), &mut line);
        let _ = sender.blocking_send(read.map(|_| line));
    };
    let mut reading = Reading::start(source, read)?;
    reading.next().await.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

/// Waits until nobody reads any more what is written, such as the end of `head`. A file is never given up.
pub(crate) async fn given_up(written: impl AsFd + Send + 'static) {
    let watch = |written: Interruptible<_>, sender: &mpsc::Sender<()>| {
        if matches!(written.is_there(PollFlags::empty()), Ok(true)) {
            let _ = sender.blocking_send(());
        }
    };
    let gone = match Reading::start(written, watch) {
        Ok(mut watching) => watching.next().await,
        Err(_) => None,
    };
    if gone.is_none() {
        // What cannot be watched is not given up either.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn no_more_is_read_than_is_wanted() {
        let (input, mut typed) = io::pipe().unwrap();
        typed.write_all(b"yes\nno").unwrap();
        assert_eq!(line(input.try_clone().unwrap()).await.unwrap(), "yes\n");
        typed.write_all(b"abcdef").unwrap();
        assert_eq!(whole(input.try_clone().unwrap(), 3).await.unwrap(), b"abcd");
        drop(typed);
        assert_eq!(whole(input, 3).await.unwrap(), b"ef");
    }

    #[tokio::test]
    async fn the_end_of_a_reader_is_noticed() {
        let (reader, written) = io::pipe().unwrap();
        let mut waiting = std::pin::pin!(given_up(written));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(reader);
        tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_for_input_can_leave() {
        let (input, _typed) = io::pipe().unwrap();
        let waiting = std::pin::pin!(line(input));
        assert!(futures_util::poll!(waiting).is_pending());
    }
}
