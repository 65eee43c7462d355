//! Records what is published to durable topics, and gives it to the subscriptions in the order of its places.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use plugmesh::cloudevents::EventRef;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::bounds::Promise;
use super::bus::Bus;
use super::duplicates::{self, Duplicates};
use super::durable::Durable;
use super::journal::{Appending, Journal, JournalError, StreamId};
use super::matches::{MatchCache, Matches};
use super::publish::kept;
use super::receipt::Ticket;
use super::run::{Run, events};
use super::subscription::{Coming, Subscription};

/// Recordings that wait to be handed to the journal: it takes as many into one commit.
pub(super) const MAX_WAITING: usize = 1024;

/// Recordings that the journal is at. It commits some thousand runs at once, and prepares the next meanwhile.
const MAX_OUTSTANDING: usize = 4096;

/// Events that a publisher wants to have recorded.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) run: Run,
    pub(super) stream: StreamId,
    /// Position of the first event in what was published.
    pub(super) first: usize,
    /// Who wanted them, by this version of the topics.
    pub(super) matches: Arc<Matches>,
    pub(super) version: u64,
    /// What those of them who block have promised.
    pub(super) promise: Promise,
    pub(super) ticket: Ticket,
    /// The publisher waits until they are handled.
    pub(super) awaits_handlers: bool,
    /// Ends when the recording is done with.
    pub(super) _turn: Turn,
}

/// What a publisher has under way to the journal: what it publishes to other topics waits for that, so that its order is kept.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    count: AtomicUsize,
    waker: AtomicWaker,
}

/// One of the recordings of a publisher.
#[derive(Debug)]
pub(super) struct Turn(Arc<UnderWay>);

impl UnderWay {
    pub(super) fn turn(self: &Arc<Self>) -> Turn {
        self.count.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }

    /// Ready while nothing is.
    pub(super) fn poll_none(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        match self.count.load(Ordering::Acquire) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.waker.wake();
        }
    }
}

/// The one task that does it.
#[derive(Debug)]
pub(super) struct Recorder {
    bus: Arc<Bus>,
    durable: Arc<Durable>,
    journal: Arc<Journal>,
    to_record: mpsc::Receiver<Recording>,
    duplicates: Duplicates,
    matches: MatchCache,
    outstanding: VecDeque<Outstanding>,
    /// Numbers of events that could not be recorded, while events wait that were duplicates of them.
    failed: Vec<Range<u64>>,
}

/// Events that the journal is at.
#[derive(Debug)]
struct Outstanding {
    recording: Recording,
    /// Those of them that are new, and where they were among all; `None`: all, or the list says which.
    new: Option<Vec<usize>>,
    run: Option<Run>,
    numbers: Range<u64>,
    /// Positions of the others, with the numbers of those that they repeat.
    known: Vec<(usize, u64)>,
    state: State,
}

#[derive(Debug)]
enum State {
    Appending(Appending),
    /// It did not begin, or there was nothing to do.
    Done(Result<Option<u64>, JournalError>),
}

impl Recorder {
    pub(super) fn new(
        bus: Arc<Bus>,
        durable: Arc<Durable>,
        journal: Arc<Journal>,
        to_record: mpsc::Receiver<Recording>,
        duplicates: Duplicates,
    ) -> Self {
        Self {
            bus,
            durable,
            journal,
            to_record,
            duplicates,
            matches: MatchCache::default(),
            outstanding: VecDeque::new(),
            failed: Vec::new(),
        }
    }

    /// Works until it is told to end, and has done all that was asked of it.
    pub(super) async fn run(mut self, ending: CancellationToken) {
        loop {
            let has_room = self.outstanding.len() < MAX_OUTSTANDING;
            let has_some = !self.outstanding.is_empty();
            tokio::select! {
                biased;
                outcome = next_done(&mut self.outstanding), if has_some => self.finish(outcome),
                recording = self.to_record.recv(), if has_room => match recording {
                    Some(recording) => self.begin(recording).await,
                    None => return,
                },
                () = ending.cancelled(), if !has_some => return,
            }
        }
    }

    /// Hands events to the journal, but for those that are known.
    async fn begin(&mut self, recording: Recording) {
        let now = Instant::now();
        self.duplicates.forget_before(now);
        let first = self.duplicates.next();
        let mut known = Vec::new();
        for (position, event) in events(recording.run.bytes()).enumerate() {
            // It was checked when it came in.
            let Ok(event) = EventRef::check(&recording.run.bytes()[event]) else { continue };
            if let Err(number) = self.duplicates.add(event, now) {
                known.push((position, number));
            }
        }
        let numbers = first..self.duplicates.next();
        let (run, new) = without(&recording.run, &known);
        let state = match &run {
            None => State::Done(Ok(None)),
            Some(run) => match self.journal.begin_append(recording.stream, run.clone()).await {
                Ok(appending) => State::Appending(appending),
                Err(error) => State::Done(Err(error)),
            },
        };
        self.outstanding.push_back(Outstanding { recording, new, run, numbers, known, state });
    }

    /// The first of those that are outstanding is done.
    fn finish(&mut self, outcome: Result<Option<u64>, JournalError>) {
        let Some(outstanding) = self.outstanding.pop_front() else { return };
        let Outstanding { recording, new, run, numbers, known, .. } = outstanding;
        match (outcome, run) {
            (Ok(Some(place)), Some(run)) => self.deliver(&recording, new.as_deref(), run.at(place)),
            (Ok(_), _) => settle(&recording),
            (Err(error), _) => {
                settle(&recording);
                let (code, message) = refusal(&error);
                for position in 0..recording.run.count() {
                    if !known.iter().any(|(known, _)| *known == position) {
                        recording.ticket.refuse(recording.first + position, code, &message);
                    }
                }
                self.bus.counts.refused.fetch_add(numbers.end - numbers.start, Ordering::Relaxed);
                self.duplicates.take_back(numbers.clone());
                self.failed.push(numbers);
            }
        }
        for (position, number) in known {
            let index = recording.first + position;
            if self.failed.iter().any(|failed| failed.contains(&number)) {
                let message =
                    "the same event was published before, and could not be recorded; publish it again";
                recording.ticket.refuse(index, Code::Aborted, message);
                continue;
            }
            self.bus.counts.duplicates.fetch_add(1, Ordering::Relaxed);
            recording.ticket.duplicate(index);
        }
        if self.outstanding.is_empty() {
            self.failed.clear();
        }
    }

    /// Gives events that were recorded to whoever wants them.
    fn deliver(&mut self, recording: &Recording, new: Option<&[usize]>, run: Run) {
        let Some(first_place) = run.first_place() else { return };
        let last = first_place + run.count() as u64 - 1;
        // Before looking at the topics: see `Subscription::push_read`.
        self.durable.head.store(last, Ordering::SeqCst);
        self.bus.count_published(run.count(), run.bytes().len());
        if self.bus.topics.version() == recording.version {
            for subscription in &recording.matches.subscriptions {
                let promised = kept(subscription, recording.promise);
                match subscription.spec.filters.is_empty() && !recording.awaits_handlers {
                    true => subscription.push_run(run.clone(), promised),
                    false => {
                        subscription.settle(promised);
                        each(new, &run).for_each(|one| push_one(subscription, recording, &one));
                    }
                }
            }
        } else {
            settle(recording);
            self.deliver_anew(recording, new, &run);
        }
        self.durable.delivered.store(last, Ordering::SeqCst);
    }

    /// The same, when who wants them has changed since they were published.
    fn deliver_anew(&mut self, recording: &Recording, new: Option<&[usize]>, run: &Run) {
        for one in each(new, run) {
            let Ok(view) = EventRef::check(&one.event) else { continue };
            let matches = self.matches.look_up(view.event_type(), &self.bus, |_| true);
            matches.subscriptions.iter().for_each(|subscription| push_one(subscription, recording, &one));
        }
    }
}

/// An event of a run.
struct One {
    /// Where it was among those that were to be recorded.
    position: usize,
    event: Bytes,
    /// The event with its tag and length.
    whole: Bytes,
    place: Option<u64>,
}

/// The events of a run, one by one. `new`: where they were, if not all are here that there were.
fn each(new: Option<&[usize]>, run: &Run) -> impl Iterator<Item = One> {
    let mut at = 0;
    events(run.bytes()).enumerate().map(move |(position, event)| {
        let whole = run.bytes().slice(at..event.end);
        at = event.end;
        let place = run.first_place().map(|first| first + position as u64);
        let position = new.and_then(|new| new.get(position).copied()).unwrap_or(position);
        One { position, event: run.bytes().slice(event), whole, place }
    })
}

/// The events of a run but for those at these positions, and where the others were, if that is not where they are.
fn without(run: &Run, known: &[(usize, u64)]) -> (Option<Run>, Option<Vec<usize>>) {
    if known.is_empty() {
        return (Some(run.clone()), None);
    }
    let (mut bytes, mut content, mut new, mut at) = (BytesMut::new(), 0, Vec::new(), 0);
    let mut known = known.iter().map(|(position, _)| *position).peekable();
    for (position, event) in events(run.bytes()).enumerate() {
        let whole = at..event.end;
        at = event.end;
        if known.next_if_eq(&position).is_none() {
            bytes.extend_from_slice(&run.bytes()[whole]);
            content += event.len();
            new.push(position);
        }
    }
    (Run::new(bytes.freeze(), new.len(), content), Some(new))
}

/// Gives a subscription an event, if it wants it.
fn push_one(subscription: &Arc<Subscription>, recording: &Recording, one: &One) {
    let Ok(view) = EventRef::check(&one.event) else { return };
    if subscription.admits(view) {
        let index = recording.first + one.position;
        let receipt = recording.awaits_handlers.then(|| recording.ticket.receipt(index, &subscription.name));
        let coming = Coming { event: &one.event, whole: &one.whole, view, place: one.place };
        subscription.push(coming, receipt, Promise::default());
    }
}

/// Nothing of what was promised is needed.
fn settle(recording: &Recording) {
    for subscription in &recording.matches.subscriptions {
        subscription.settle(kept(subscription, recording.promise));
    }
}

/// What became of the first of those that are outstanding. Dropping the future loses nothing.
async fn next_done(outstanding: &mut VecDeque<Outstanding>) -> Result<Option<u64>, JournalError> {
    poll_fn(|cx| match outstanding.front_mut().map(|first| &mut first.state) {
        None => Poll::Pending,
        Some(State::Done(outcome)) => Poll::Ready(std::mem::replace(outcome, Ok(None))),
        Some(State::Appending(appending)) => {
            Pin::new(appending).poll(cx).map_ok(|appended| Some(appended.first_place))
        }
    })
    .await
}

/// What a publisher is told whose events the journal does not take.
pub(super) fn refusal(error: &JournalError) -> (Code, String) {
    let code = match error {
        JournalError::Full { .. } | JournalError::LimitReached { .. } => Code::ResourceExhausted,
        JournalError::TooLarge { .. } => Code::InvalidArgument,
        JournalError::Failed { .. } | JournalError::Closed { .. } => Code::Unavailable,
        #[cfg(feature = "nats")]
        JournalError::Broker { .. } => Code::Unavailable,
        #[cfg(feature = "nats")]
        JournalError::NameInUse { .. } => Code::FailedPrecondition,
    };
    (code, error.to_string())
}

/// What was published a short time ago, by a journal that was just opened.
pub(super) async fn recent(journal: &Journal) -> Duplicates {
    let mut known = Duplicates::new(duplicates::MAX_EVENTS, Instant::now());
    if let Err(error) = read_recent(journal, &mut known).await {
        tracing::warn!(%error, "what was published last cannot be read: events that come once more are not known again");
    }
    known
}

async fn read_recent(journal: &Journal, known: &mut Duplicates) -> Result<(), JournalError> {
    /// What one read brings.
    const EVENTS: u32 = 16_384;
    const BYTES: usize = 4 << 20;
    let (now, instant) = (SystemTime::now(), Instant::now());
    let since = now.checked_sub(duplicates::WINDOW).unwrap_or(SystemTime::UNIX_EPOCH);
    let first = journal.first_at_or_after(since).await?;
    let last = journal.last_place();
    let mut after = first.saturating_sub(1).max(last.saturating_sub(duplicates::MAX_EVENTS as u64));
    while after < last {
        let read = journal.read(after, EVENTS, BYTES).await?;
        for stored in &read.stored {
            let age = now.duration_since(stored.recorded).unwrap_or_default();
            let at = instant.checked_sub(age).unwrap_or(instant);
            for event in events(&stored.bytes) {
                if let Ok(event) = EventRef::check(&stored.bytes[event]) {
                    let _ = known.add(event, at);
                }
            }
        }
        after = read.through.max(after + 1);
    }
    Ok(())
}
