//! A subscription: what it wants, who takes part, and what waits for them.

mod arrive;
mod counts;
mod journaled;
#[cfg(feature = "nats")]
mod pulled;
mod spec;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use plugmesh::cloudevents::EventRef;
use plugmesh::event::v1;
use tonic::Code;

pub(super) use self::arrive::{Coming, ReadEvents};
pub(crate) use self::counts::Counted;
pub(super) use self::counts::Counts;
pub(super) use self::journaled::{Standing, Unsaved, Wanted};
pub(super) use self::spec::{Defaults, Identity, MAX_SPAN, Mode, Spec, is_name, start};
use super::bounds::{Load, Overflow, Promise};
use super::dead_letters::{self, Redriven};
use super::durable::Worker;
use super::entries::{Due, Entries, Failure, GivenUp, MemberId, Settled, Signal};
use super::journal::NewDeadLetter;
use super::parcel::{Budget, Parcel};
use super::progress::{Progress, Stage, Start};
use super::pulled::Pulled;
use super::runs::Runs;

/// Events that were given up and are not saved yet: with so many, nothing more is delivered until they are, so that a disk that is full
/// fills no memory.
const MAX_UNSAVED: usize = 64;

/// A subscription in force.
#[derive(Debug)]
pub(super) struct Subscription {
    /// For people, and for dead letters: the group, the durable name, or who subscribed.
    pub(super) name: Arc<str>,
    pub(super) spec: Spec,
    /// The same as it is said on the wire.
    pub(super) wire: v1::Subscription,
    pub(super) counts: Counts,
    /// The feeder, or the keeper, is about to look at it.
    marks: [AtomicBool; 2],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Publishers that wait for room.
    blocked: Vec<Waker>,
    /// When the timekeeper will look at it.
    scheduled: Option<Instant>,
    /// Since when nobody takes part.
    unused: Option<Instant>,
    /// Events that were given up, for the dead letters.
    letters: Vec<NewDeadLetter>,
    /// Dead letters that are none any more.
    letters_done: Vec<Redriven>,
    /// Why it is none, or none any more.
    refusal: Option<(Code, String)>,
}

#[derive(Debug)]
enum Queue {
    /// One subscriber gets all events, at most once.
    Runs { runs: Runs, reader: Option<Reader> },
    /// Any other.
    Entries(Box<Entries>),
}

#[derive(Debug)]
struct Reader {
    id: MemberId,
    signal: Arc<dyn Signal>,
    is_idle: bool,
}

/// What of a subscription's doings somebody else must take care of.
#[derive(Debug, Default)]
pub(super) struct Consequences {
    /// There is something to save.
    pub(super) is_unsaved: bool,
    /// It has room for events of the journal.
    pub(super) is_hungry: bool,
    /// When to look at the subscription again, if that has changed.
    pub(super) due: Option<Instant>,
    /// What was given up, for who wants to know.
    pub(super) given_up: Vec<NewDeadLetter>,
}

/// What a member says of a delivery.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Handled,
    Failed(Failure),
    InProgress,
}

impl Subscription {
    pub(super) fn new(name: Arc<str>, spec: Spec) -> Arc<Self> {
        let progress = spec.start.clone().map(Progress::new);
        Self::with_progress(name, spec, progress)
    }

    /// One whose durable name the log shares among hosts: it hands out the events.
    pub(super) fn pulled(name: Arc<str>, spec: Spec) -> Arc<Self> {
        let start = spec.start.clone().unwrap_or(Start::End);
        let subscription = Self::with_progress(name, spec, None);
        if let Queue::Entries(entries) = &mut subscription.state().queue {
            entries.pulled = Some(Pulled::new(start));
        }
        subscription
    }

    /// One that goes on where it was.
    pub(super) fn with_progress(name: Arc<str>, spec: Spec, progress: Option<Progress>) -> Arc<Self> {
        let queue = match spec.takes_runs() {
            true => Queue::Runs { runs: Runs::new(spec.bounds, spec.overflow), reader: None },
            false => {
                let redelivery = (spec.mode == Mode::AtLeastOnce).then(|| spec.redelivery.clone());
                Queue::Entries(Box::new(Entries::new(spec.bounds, spec.overflow, redelivery, progress)))
            }
        };
        let state = State {
            queue,
            blocked: Vec::new(),
            scheduled: None,
            unused: None,
            letters: Vec::new(),
            letters_done: Vec::new(),
            refusal: None,
        };
        let wire = spec.to_wire();
        Arc::new(Self {
            name,
            spec,
            wire,
            counts: Counts::default(),
            marks: Default::default(),
            state: Mutex::new(state),
        })
    }

    /// Whether it takes events as they come, side by side, and asks nothing of any of them.
    pub(super) fn takes_runs(&self) -> bool {
        self.spec.takes_runs() && self.spec.filters.is_empty()
    }

    /// Whether it wants an event of one of its topics.
    pub(super) fn admits(&self, event: EventRef<'_>) -> bool {
        self.spec.admits(event)
    }

    /// Whether it wants an event.
    pub(super) fn wants(&self, event: EventRef<'_>) -> bool {
        self.spec.wants(event)
    }

    /// Whether publishers wait when it is full.
    pub(super) fn blocks(&self) -> bool {
        self.spec.overflow == Overflow::Block
    }

    /// Notes that somebody is about to look at it. `true`: that was so already.
    pub(super) fn mark(&self, worker: Worker) -> bool {
        self.marks[worker as usize].swap(true, Ordering::AcqRel)
    }

    pub(super) fn unmark(&self, worker: Worker) {
        self.marks[worker as usize].store(false, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises room for as many of the events as there is. When that is none, the publisher is woken as soon as there is some.
    pub(super) fn promise(&self, wanted: Promise, publisher: &Waker) -> usize {
        let mut state = self.state();
        let room = state.room().min(wanted.events);
        if room == 0 {
            state.blocked.push(publisher.clone());
            return 0;
        }
        state.load().promise(Promise { events: room, bytes: wanted.bytes });
        room
    }

    /// Takes a promise back.
    pub(super) fn settle(&self, promise: Promise) {
        self.state().load().settle(promise);
    }

    /// Publishers that wait for room.
    pub(super) fn blocked_publishers(&self) -> usize {
        self.state().blocked.len()
    }

    /// Adds a member. It looks for events by itself first.
    pub(super) fn join(&self, id: MemberId, signal: Arc<dyn Signal>) {
        match &mut self.state().queue {
            Queue::Runs { reader, .. } => *reader = Some(Reader { id, signal, is_idle: false }),
            Queue::Entries(entries) => entries.join(id, signal),
        }
    }

    /// A member takes no more events.
    pub(super) fn close(&self, id: MemberId) {
        match &mut self.state().queue {
            Queue::Runs { reader, .. } => *reader = None,
            Queue::Entries(entries) => entries.close(id),
        }
    }

    /// A member is gone.
    pub(super) fn leave(&self, id: MemberId) -> Consequences {
        let mut state = self.state();
        let given_up = match &mut state.queue {
            Queue::Runs { reader, .. } => {
                *reader = None;
                Vec::new()
            }
            Queue::Entries(entries) => entries.leave(id),
        };
        self.after(state, given_up)
    }

    /// Whether this member takes its events.
    pub(super) fn is_member(&self, id: MemberId) -> bool {
        match &self.state().queue {
            Queue::Runs { reader, .. } => reader.as_ref().is_some_and(|reader| reader.id == id),
            Queue::Entries(entries) => entries.is_member(id),
        }
    }

    /// Who takes its events.
    pub(super) fn members(&self) -> Vec<MemberId> {
        match &self.state().queue {
            Queue::Runs { reader, .. } => reader.iter().map(|reader| reader.id).collect(),
            Queue::Entries(entries) => entries.open_members().collect(),
        }
    }

    /// Whether a member has not answered for all that it got.
    pub(super) fn is_at_work(&self, id: MemberId) -> bool {
        match &self.state().queue {
            Queue::Runs { .. } => false,
            Queue::Entries(entries) => entries.is_at_work(id),
        }
    }

    /// The next events for a member. An empty parcel: there are none, and the member gets a signal when there are.
    pub(super) fn take(&self, id: MemberId, budget: Budget, now: Instant) -> (Parcel, Consequences) {
        let mut state = self.state();
        let is_stalled = state.letters.len() >= MAX_UNSAVED;
        let parcel = match &mut state.queue {
            Queue::Runs { runs, reader } => {
                let parcel = runs.take(budget);
                if let Some(reader) = reader.as_mut().filter(|reader| reader.id == id) {
                    reader.is_idle = runs.is_empty();
                }
                parcel
            }
            Queue::Entries(entries) if is_stalled => {
                entries.rest(id);
                Parcel::new(1, 0)
            }
            Queue::Entries(entries) => entries.take(id, budget, now),
        };
        self.counts.delivered(&parcel);
        (parcel, self.after(state, Vec::new()))
    }

    /// A member answers for a delivery. `false`: there never was such a one.
    pub(super) fn answer(
        &self,
        id: MemberId,
        number: u64,
        answer: Answer,
        now: Instant,
    ) -> (bool, Consequences) {
        let mut state = self.state();
        let Queue::Entries(entries) = &mut state.queue else { return (false, Consequences::default()) };
        let settled = match answer {
            Answer::Handled => entries.handled(id, number),
            Answer::Failed(failure) => entries.failed(id, number, failure, now),
            Answer::InProgress => entries.in_progress(id, number, now),
        };
        self.counts.settled(&settled);
        let (is_known, given_up) = match settled {
            Settled::Unknown => (false, Vec::new()),
            Settled::GivenUp(given_up) => (true, vec![*given_up]),
            Settled::Done(_) | Settled::Again => (true, Vec::new()),
        };
        (is_known, self.after(state, given_up))
    }

    /// Notes that the timekeeper is to look at it. `false`: it will do so early enough already.
    pub(super) fn wants_to_be_woken(&self, at: Instant) -> bool {
        let mut state = self.state();
        let is_earlier = state.scheduled.is_none_or(|scheduled| at < scheduled);
        if is_earlier {
            state.scheduled = Some(at);
        }
        is_earlier
    }

    /// Since when nobody takes its events. `None`: somebody does.
    pub(super) fn unused_since(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        let has_members = match &state.queue {
            Queue::Runs { reader, .. } => reader.is_some(),
            Queue::Entries(entries) => entries.has_members(),
        };
        match has_members {
            true => state.unused = None,
            false => drop(state.unused.get_or_insert(now)),
        }
        state.unused
    }

    /// Whether anybody takes its events.
    pub(super) fn has_members(&self) -> bool {
        match &self.state().queue {
            Queue::Runs { reader, .. } => reader.is_some(),
            Queue::Entries(entries) => entries.has_members(),
        }
    }

    /// Does what is due.
    pub(super) fn on_time(&self, now: Instant) -> Consequences {
        let mut state = self.state();
        state.scheduled = None;
        let due = match &mut state.queue {
            Queue::Runs { .. } => Due::default(),
            Queue::Entries(entries) => entries.on_time(now),
        };
        self.counts.overdue(due.overdue);
        self.after(state, due.given_up)
    }

    /// Events that wait, and events that members are at.
    pub(super) fn load(&self) -> (usize, usize) {
        let mut state = self.state();
        let queued = state.load().events;
        match &state.queue {
            Queue::Runs { .. } => (queued, 0),
            Queue::Entries(entries) => (queued, entries.in_flight()),
        }
    }

    /// Wakes those who wait for room, if there is some, and notes what was given up.
    fn after(&self, mut state: MutexGuard<'_, State>, given_up: Vec<GivenUp>) -> Consequences {
        self.counts.given_up(given_up.len());
        let state_of = &mut *state;
        let mut letters = Vec::new();
        for mut given_up in given_up {
            letters.push(dead_letters::letter(&self.name, &given_up));
            state_of.letters_done.extend(given_up.entry.letter.take());
        }
        state_of.letters.extend_from_slice(&letters);
        if let Queue::Entries(entries) = &mut state_of.queue {
            state_of.letters_done.append(&mut entries.letters_handled);
        }
        let blocked = match state.blocked.is_empty() || state.room() == 0 {
            true => Vec::new(),
            false => std::mem::take(&mut state.blocked),
        };
        let due = match &state.queue {
            Queue::Runs { .. } => None,
            Queue::Entries(entries) => entries.next_due(),
        };
        let is_unsaved = state.is_unsaved();
        let is_hungry = state.wanted().is_some();
        drop(state);
        blocked.into_iter().for_each(Waker::wake);
        Consequences { is_unsaved, is_hungry, due, given_up: letters }
    }
}

fn wake(reader: &mut Option<Reader>) {
    if let Some(reader) = reader
        && std::mem::take(&mut reader.is_idle)
    {
        reader.signal.ready();
    }
}

impl State {
    fn load(&mut self) -> &mut Load {
        match &mut self.queue {
            Queue::Runs { runs, .. } => &mut runs.load,
            Queue::Entries(entries) => &mut entries.load,
        }
    }

    fn room(&self) -> usize {
        match &self.queue {
            Queue::Runs { runs, .. } => runs.load.room(runs.bounds),
            // What is published comes by way of the log.
            Queue::Entries(entries) if entries.pulled.is_some() => usize::MAX,
            Queue::Entries(entries) => match &entries.progress {
                // Who asks is a publisher that would rather wait; while nobody is there, that would be in vain.
                Some(_) if !entries.has_members() => usize::MAX,
                Some(progress) if *progress.stage() != Stage::Live => 0,
                _ => entries.room(),
            },
        }
    }
}
