//! What is delivered at once.

use bytes::Bytes;
use plugmesh::event::frame::{EventsBuffer, FULL};
use plugmesh::event::v1::{Attempt, Delivery};

use super::run::Run;

/// Most events of one delivery: a subscriber that is at them holds back none of the other subscriptions of its stream for long.
const MAX_EVENTS: usize = 4096;

/// How much may be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Budget {
    /// What credit allows, and a delivery.
    pub(super) fn of_credit(events: u64, bytes: u64) -> Self {
        let least =
            |credit: u64, most: usize| usize::try_from(credit).map_or(most, |credit| credit.min(most));
        Self { events: least(events, MAX_EVENTS), bytes: least(bytes, FULL) }
    }
}

/// Events on their way to a member of a subscription.
#[derive(Debug)]
pub(super) struct Parcel {
    events: EventsBuffer,
    /// Bytes of the events alone.
    content: usize,
    /// Number of the first.
    first: u64,
    attempts: Vec<Attempt>,
    /// One for each event, if any is in the journal.
    places: Vec<u64>,
    /// Events that were dropped before the first.
    pub(super) gap: u64,
}

impl Parcel {
    /// An empty one, whose first event will have this number, with space for so many bytes.
    pub(super) fn new(first: u64, capacity: usize) -> Self {
        Self {
            events: EventsBuffer::with_capacity(capacity),
            content: 0,
            first,
            attempts: Vec::new(),
            places: Vec::new(),
            gap: 0,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.events.count()
    }

    /// Events that do not come for the first time.
    pub(super) fn again(&self) -> usize {
        self.attempts.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.events.bytes()
    }

    /// Bytes of the events alone, which is what credit counts.
    pub(super) fn content(&self) -> usize {
        self.content
    }

    /// Adds events that lie side by side.
    pub(super) fn push_run(&mut self, run: &Run) {
        self.content += run.content();
        let before = self.count();
        let after = before + run.count();
        match run.first_place() {
            Some(first) => {
                self.places.resize(before, 0);
                self.places.extend(first..first + run.count() as u64);
            }
            None if self.places.is_empty() => {}
            None => self.places.resize(after, 0),
        }
        self.events.push_run(run.bytes(), run.count());
    }

    /// Adds an event, which comes for the nth time, and its place if it is in the journal.
    pub(super) fn push(&mut self, event: &[u8], attempt: u32, place: Option<u64>) {
        if attempt > 1 {
            self.attempts.push(Attempt { index: self.count() as u32, number: attempt });
        }
        match place {
            Some(place) => {
                self.places.resize(self.count(), 0);
                self.places.push(place);
            }
            None if self.places.is_empty() => {}
            None => self.places.push(0),
        }
        self.content += event.len();
        self.events.push(event);
    }

    /// The message for the member that calls the subscription by this number. `None`: there are no events.
    pub(super) fn finish(self, subscription: u64) -> Option<Bytes> {
        let Self { events, first: sequence, attempts, places, .. } = self;
        if events.count() == 0 {
            return None;
        }
        Some(events.finish(&Delivery { events: Vec::new(), subscription, sequence, attempts, places }))
    }
}
