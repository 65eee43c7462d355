//! The task that reads both streams of a process to their end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lines::Splitter;
use super::parse::parse;
use super::rate::Allowance;
use super::{CrashText, LogSink, Stream};
use crate::launch::exit::Exit;

/// Bytes read at once: a quarter of a pipe.
const READ_BYTES: usize = 16 * 1024;

/// Reads of one stream before the other, and other tasks, get their turn.
const READS_PER_TURN: usize = 8;

/// How long after the end of the process its streams are still read. What it wrote is in the pipe by then;
/// only a descendant that escaped could write more.
const AFTER_EXIT: Duration = Duration::from_millis(250);

/// The read ends of a process.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// The task. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Drain {
    task: JoinHandle<()>,
    crash: CrashText,
    /// Closed when all that will be read has been.
    done: watch::Receiver<()>,
}

/// One stream, until its end.
struct Source {
    stream: Stream,
    pipe: Option<Receiver>,
    splitter: Splitter,
    /// Of its own: a flood on the one must not cost the words of the other.
    allowance: Allowance,
    lost: u64,
}

struct Keeper {
    sink: Arc<dyn LogSink>,
    crash: CrashText,
}

impl Drain {
    /// Starts it. Must be called within a runtime with I/O.
    pub(crate) fn start(
        streams: Streams,
        sink: Arc<dyn LogSink>,
        exit: watch::Receiver<Option<Exit>>,
    ) -> io::Result<Self> {
        let crash = CrashText::default();
        let keeper = Keeper { sink, crash: crash.clone() };
        let stdout = Source::new(Stream::Stdout, streams.stdout)?;
        let stderr = Source::new(Stream::Stderr, streams.stderr)?;
        let (running, done) = watch::channel(());
        let task = tokio::spawn(async move {
            drain(stdout, stderr, keeper, exit).await;
            drop(running);
        });
        Ok(Self { task, crash, done })
    }

    /// Waits until all output is delivered, which the end of the process bounds.
    pub(crate) async fn done(&self) {
        // Nothing is ever sent: the only change is the end.
        let _ = self.done.clone().changed().await;
    }

    pub(crate) fn crash(&self) -> &CrashText {
        &self.crash
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn drain(
    mut stdout: Source,
    mut stderr: Source,
    keeper: Keeper,
    mut exit: watch::Receiver<Option<Exit>>,
) {
    let mut stop_at = None;
    while stdout.is_open() || stderr.is_open() {
        tokio::select! {
            () = stdout.readable(), if stdout.is_open() => stdout.read(&keeper),
            () = stderr.readable(), if stderr.is_open() => stderr.read(&keeper),
            _ = exit.wait_for(Option::is_some), if stop_at.is_none() => {
                stop_at = Some(Instant::now() + AFTER_EXIT);
            }
            () = tokio::time::sleep_until(stop_at.unwrap_or_else(Instant::now)), if stop_at.is_some() => break,
        }
        // A pipe that is always full is always ready: leave the others their turn.
        tokio::task::yield_now().await;
    }
    stdout.finish(&keeper);
    stderr.finish(&keeper);
}

impl Source {
    fn new(stream: Stream, pipe: OwnedFd) -> io::Result<Self> {
        let pipe = Some(Receiver::from_owned_fd(pipe)?);
        let allowance = Allowance::full(Instant::now());
        Ok(Self { stream, pipe, splitter: Splitter::default(), allowance, lost: 0 })
    }

    fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    async fn readable(&self) {
        if let Some(pipe) = &self.pipe {
            // A failure shows again in the read that follows.
            let _ = pipe.readable().await;
        }
    }

    /// Takes what is there. The buffer lives on the stack, so that a quiet process costs none.
    fn read(&mut self, keeper: &Keeper) {
        let mut buffer = [0; READ_BYTES];
        self.allowance.refill(Instant::now());
        for _ in 0..READS_PER_TURN {
            let Some(pipe) = &self.pipe else { return };
            match pipe.try_read(&mut buffer) {
                Ok(read) if read > 0 => {
                    let bytes = buffer.get(..read).unwrap_or_default();
                    if self.stream == Stream::Stderr {
                        keeper.crash.push(bytes);
                    }
                    let Self { stream, splitter, allowance, lost, .. } = self;
                    splitter.feed(bytes, |line| keeper.keep(line, *stream, allowance, lost));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
    }

    fn finish(&mut self, keeper: &Keeper) {
        let Self { stream, splitter, allowance, lost, .. } = self;
        splitter.finish(|line| keeper.keep(line, *stream, allowance, lost));
        if *lost > 0 {
            keeper.sink.lost(*stream, *lost);
        }
    }
}

impl Keeper {
    fn keep(&self, line: &[u8], stream: Stream, allowance: &mut Allowance, lost: &mut u64) {
        if !allowance.take(line.len()) {
            *lost += 1;
            return;
        }
        if *lost > 0 {
            self.sink.lost(stream, std::mem::take(lost));
        }
        self.sink.line(parse(line, stream));
    }
}
