//! The durable log of the event bus: events are recorded here before their publisher is acknowledged.
//!
//! An embedded SQLite database that one thread owns. What waits for it is recorded together in one transaction (group commit), and events that
//! were published together lie in one row. Events have a *place*, which rises by one from event to event over the whole journal, and belong to
//! a *stream*, which says how long they are kept.
//!
//! - [`options`]: streams and limits. [`error`]: what can go wrong.
//! - [`clock`]: times that never go back. [`row`]: what is stored of a run, with its checksum.
//! - [`store`]: the database. [`writer`]: its thread. [`command`]: what that is asked to do.

mod clock;
mod command;
mod error;
mod options;
#[cfg(test)]
mod os;
mod row;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::SystemTime;

use plugmesh::cloudevents::EventRef;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub(crate) use self::command::{Appended, Change, Committed};
use self::command::{Command, Write};
pub(crate) use self::error::JournalError;
pub use self::error::OpenError;
pub(crate) use self::options::JournalOptions;
#[cfg(test)]
use self::options::{Fsync, StreamConfig};
pub(crate) use self::row::Damaged;
#[cfg(any(test, feature = "nats"))]
pub(crate) use self::store::Stored;
pub(crate) use self::store::{Cursor, DeadLetter, DeadLetterPage, NewDeadLetter, Read, Salvage};
use self::store::{Findings, Store, Wanted};
use self::writer::{MAX_WAITING, Shared, Writer};
use super::run::{Run, events};

/// Bytes of one append, or of one list of changes: a few frames of events.
pub(crate) const MAX_APPEND_BYTES: usize = 16 << 20;

/// KiB of large appends that wait at most, so that a slow disk does not fill the memory. It has room for some of the largest.
const MAX_WAITING_KIB: usize = 64 << 10;

/// Appends up to this do not count among the large ones: [`MAX_WAITING`] of them are 4 MiB.
const SMALL_BYTES: usize = 4096;

/// Bytes that one read answers at most: the thread reads and writes in turns.
const MAX_READ_BYTES: usize = 4 << 20;

/// Events and bytes of one step of a search backwards.
const SEARCH_EVENTS: u32 = 4096;
const SEARCH_BYTES: usize = 1 << 20;

/// An open journal. Dropping it ends its thread after the transaction that is under way, and waits for it: what was not acknowledged
/// may be lost then, see [`close`](Self::close).
///
/// All that is asked of it may be given up on at any time: what was sent to the thread is still done.
#[derive(Debug)]
pub(crate) struct Journal {
    /// `None`: it is being dropped.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    waiting: Arc<Semaphore>,
    streams: Vec<String>,
}

/// A stream that is configured, for as long as its journal is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamId(usize);

#[cfg(feature = "nats")]
impl StreamId {
    /// That of a log which keeps all events together.
    pub(crate) const ONLY: Self = Self(0);
}

/// Events that are being recorded. Ready when they are as durable as their stream says; dropping it does not take them back.
#[derive(Debug)]
pub(crate) struct Appending {
    done: oneshot::Receiver<Result<Appended, JournalError>>,
    path: Arc<Path>,
}

impl Future for Appending {
    type Output = Result<Appended, JournalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = |path: &Arc<Path>| JournalError::Closed { path: path.clone() };
        Pin::new(&mut self.done).poll(cx).map(|done| done.unwrap_or_else(|_| Err(closed(&self.path))))
    }
}

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened {
    /// The progress of durable subscriptions.
    pub(crate) cursors: Vec<Cursor>,
    /// Names of cursors that are damaged: their subscriptions begin anew.
    pub(crate) damaged_cursors: Vec<String>,
    /// Events that are damaged. Others may be found when they are read.
    pub(crate) damaged: Vec<Damaged>,
    /// The database was damaged, and replaced.
    pub(crate) salvage: Option<Salvage>,
    /// Streams that are no longer configured and still hold events.
    pub(crate) retired: Vec<String>,
}

/// What a journal holds and has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Events, without damaged ones.
    pub(crate) events: u64,
    /// Bytes of the database and its log on the disk.
    pub(crate) bytes: u64,
    /// Place of the oldest event; that of the next one when there is none.
    pub(crate) first_place: u64,
    /// Place of the newest event that there ever was; zero when there was none.
    pub(crate) last_place: u64,
    /// Commits since it was opened.
    pub(crate) commits: u64,
    /// Dead letters.
    pub(crate) dead_letters: u64,
    /// Dead letters that went because there were too many, since it was opened.
    pub(crate) dead_letters_dropped: u64,
    /// Rows of events that are damaged, and kept aside.
    pub(crate) damaged_rows: u64,
    /// What is wrong with it. `None`: nothing.
    pub(crate) problem: Option<String>,
}

impl Journal {
    /// Opens a journal, or makes one. After a crash or damage that may take long.
    ///
    /// # Errors
    /// Another process has it open, the files cannot be used, or they are something else. A damaged journal is repaired: [`Opened`] says so.
    pub(crate) async fn open(options: JournalOptions) -> Result<(Self, Opened), OpenError> {
        let streams: Vec<_> = options.streams.iter().map(|stream| stream.name.clone()).collect();
        if let Some(twice) = (1..streams.len()).find(|index| streams[..*index].contains(&streams[*index])) {
            return Err(OpenError::Twice { name: streams[twice].clone() });
        }
        let path: Arc<Path> = options.path.as_path().into();
        let shared = Arc::new(Shared {
            path,
            next_place: 1.into(),
            first_place: 1.into(),
            events: 0.into(),
            dead_letters: 0.into(),
            is_ending: false.into(),
        });
        let (commands, receiver) = mpsc::channel(MAX_WAITING);
        let (answer, opened) = oneshot::channel();
        let thread = std::thread::Builder::new().name("plugmesh-journal".to_owned());
        let thread = thread.spawn({
            let shared = shared.clone();
            move || main(options, shared, receiver, answer)
        });
        let journal = Self {
            commands: Some(commands),
            thread: Some(thread.map_err(OpenError::Thread)?),
            shared,
            waiting: Arc::new(Semaphore::new(MAX_WAITING_KIB)),
            streams,
        };
        let failed = || OpenError::Thread(std::io::Error::other("it ended without an answer"));
        let findings = opened.await.map_err(|_| failed())??;
        Ok((journal, findings.into()))
    }

    /// The stream of that name, if it is configured.
    pub(crate) fn stream(&self, name: &str) -> Option<StreamId> {
        self.streams.iter().position(|known| known == name).map(StreamId)
    }

    /// Records events, in the order in which it is called: returns as soon as it is the journal's turn. They are as durable as their stream
    /// says when the [`Appending`] is done.
    ///
    /// # Errors
    /// It is closed, or there are too many bytes.
    pub(crate) async fn begin_append(&self, stream: StreamId, run: Run) -> Result<Appending, JournalError> {
        let bytes = run.bytes().len();
        let done = self.begin_write(bytes, |answer| Write::Append { run: (stream, run), answer }).await?;
        Ok(Appending { done, path: self.shared.path.clone() })
    }

    /// Makes all of some changes, or none. They survive the end of the process, and not always the loss of power: a subscription is then
    /// where it was before, with its dead letters.
    ///
    /// # Errors
    /// Nothing was changed, except that [`JournalError::Failed`] cannot tell.
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<Committed, JournalError> {
        let bytes = changes.iter().map(Change::bytes).sum();
        self.write(bytes, |answer| Write::Change { changes, answer }).await
    }

    /// Reads events after a place, in the order of places: up to both bounds, and one event at least if there is any. At most 4 MiB.
    ///
    /// # Errors
    /// The database cannot be read. Damaged events are no error: they are passed over, and told.
    pub(crate) async fn read(
        &self,
        after_place: u64,
        max_events: u32,
        max_bytes: usize,
    ) -> Result<Read, JournalError> {
        let max_bytes = max_bytes.clamp(1, MAX_READ_BYTES);
        self.ask(move |writer| {
            writer.with_store(|store| store.read(Wanted::After(after_place), max_events, max_bytes))
        })
        .await
    }

    /// Place of the first event that was recorded then or later; that of the next one when there is none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) async fn first_at_or_after(&self, time: SystemTime) -> Result<u64, JournalError> {
        let time = clock::micros(time);
        self.ask(move |writer| writer.with_store(|store| store.first_at_or_after(time))).await
    }

    /// Place of the oldest event; that of the next one when there is none.
    pub(crate) fn first_place(&self) -> u64 {
        self.shared.first_place.load(Relaxed)
    }

    /// Events that it holds.
    pub(crate) fn events(&self) -> u64 {
        self.shared.events.load(Relaxed)
    }

    /// Dead letters that it holds.
    pub(crate) fn count_of_dead_letters(&self) -> u64 {
        self.shared.dead_letters.load(Relaxed)
    }

    /// Place of the newest event that there ever was; zero when there was none.
    pub(crate) fn last_place(&self) -> u64 {
        self.shared.next_place.load(Relaxed).saturating_sub(1)
    }

    /// Place of the newest event with that id among the last `most`, or some more.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) async fn find_newest(&self, id: &str, most: u64) -> Result<Option<u64>, JournalError> {
        let (mut before, mut seen) = (i64::MAX as u64, 0);
        while seen < most && before > 1 {
            let wanted = Wanted::Before(before);
            let read = self.ask(move |writer| {
                writer.with_store(|store| store.read(wanted, SEARCH_EVENTS, SEARCH_BYTES))
            });
            let read = read.await?;
            for stored in &read.stored {
                let places = stored.first_place..;
                let is_it = |event: &[u8]| EventRef::check(event).is_ok_and(|event| event.id() == id);
                let found = places
                    .zip(events(&stored.bytes))
                    .filter(|(_, event)| is_it(&stored.bytes[event.clone()]));
                if let Some((place, _)) = found.last() {
                    return Ok(Some(place));
                }
                seen += u64::from(stored.count);
            }
            before = read.through;
        }
        Ok(None)
    }

    /// A page of the dead letters of a subscription, or of all, whose id is above `after`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) async fn dead_letters(
        &self,
        subscription: Option<String>,
        after: u64,
        most: usize,
    ) -> Result<DeadLetterPage, JournalError> {
        self.ask(move |writer| {
            writer.with_store(|store| store.dead_letters(subscription.as_deref(), after, most))
        })
        .await
    }

    /// A dead letter, if there is one with that id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) async fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>, JournalError> {
        self.ask(move |writer| writer.with_store(|store| store.dead_letter(id))).await
    }

    /// What it holds and has done.
    ///
    /// # Errors
    /// It is closed.
    pub(crate) async fn stats(&self) -> Result<Stats, JournalError> {
        self.ask(|writer| Ok(writer.stats())).await
    }

    /// Does all that waits, then closes the files. What is asked afterwards is refused.
    pub(crate) async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if let Some(commands) = &self.commands
            && commands.send(Command::Close(answer)).await.is_ok()
        {
            // It ends without an answer if it is closed already.
            let _ = closed.await;
        }
    }

    async fn write<T>(
        &self,
        bytes: usize,
        make: impl FnOnce(command::Answer<T>) -> Write,
    ) -> Result<T, JournalError> {
        self.begin_write(bytes, make).await?.await.map_err(|_| self.closed())?
    }

    async fn begin_write<T>(
        &self,
        bytes: usize,
        make: impl FnOnce(command::Answer<T>) -> Write,
    ) -> Result<oneshot::Receiver<Result<T, JournalError>>, JournalError> {
        if bytes > MAX_APPEND_BYTES {
            return Err(JournalError::TooLarge { bytes, most: MAX_APPEND_BYTES });
        }
        let permit = if bytes > SMALL_BYTES {
            let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
            Some(self.waiting.clone().acquire_many_owned(kib).await.map_err(|_| self.closed())?)
        } else {
            None
        };
        let (answer, done) = oneshot::channel();
        self.send(Command::Write(make(answer), permit)).await?;
        Ok(done)
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Writer) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (answer, done) = oneshot::channel();
        let ask = move |writer: &mut Writer| drop(answer.send(question(writer)));
        self.send(Command::Ask(Box::new(ask))).await?;
        done.await.map_err(|_| self.closed())?
    }

    async fn send(&self, command: Command) -> Result<(), JournalError> {
        let commands = self.commands.as_ref().ok_or_else(|| self.closed())?;
        commands.send(command).await.map_err(|_| self.closed())
    }

    fn closed(&self) -> JournalError {
        JournalError::Closed { path: self.shared.path.clone() }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Relaxed);
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.shared.path.display(), "the thread of the journal has panicked");
        }
    }
}

/// The thread.
fn main(
    options: JournalOptions,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    answer: oneshot::Sender<Result<Findings, OpenError>>,
) {
    // For its timer: ages are looked at from time to time.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(answer.send(Err(OpenError::Thread(error)))),
    };
    match Writer::open(options, shared) {
        Ok((writer, findings)) => {
            let _ = answer.send(Ok(findings));
            runtime.block_on(writer.run(commands));
        }
        Err(error) => drop(answer.send(Err(error))),
    }
}

impl From<Findings> for Opened {
    fn from(findings: Findings) -> Self {
        let Findings { cursors, damaged_cursors, damaged, salvage, retired } = findings;
        Self { cursors, damaged_cursors, damaged, salvage, retired }
    }
}

impl Writer {
    fn stats(&mut self) -> Stats {
        // Opens it if need be; what fails is the problem that is told.
        let ledger = self.with_store(|store: &mut Store| Ok(store.ledger.clone())).unwrap_or_default();
        Stats {
            events: ledger.events(),
            bytes: self.file_bytes(),
            first_place: self.first_place(),
            last_place: self.next_place() - 1,
            commits: self.commits,
            dead_letters: ledger.dead_letters,
            dead_letters_dropped: self.dead_letters_dropped,
            damaged_rows: ledger.damaged_rows,
            problem: self.problem(),
        }
    }
}
