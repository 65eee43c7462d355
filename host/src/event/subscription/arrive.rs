//! Events that come to a subscription.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use plugmesh::cloudevents::EventRef;

use super::super::bounds::Promise;
use super::super::dead_letters::Redriven;
use super::super::entries::Arrival;
use super::super::receipt::Receipt;
use super::super::run::Run;
use super::{Consequences, Queue, Subscription, wake};
use crate::resilience::stable_hash::stable_hash;

/// An event on its way to a subscription that wants it.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Coming<'a> {
    pub(in super::super) event: &'a Bytes,
    /// The event with its tag and length.
    pub(in super::super) whole: &'a Bytes,
    pub(in super::super) view: EventRef<'a>,
    /// Its place, if it is in the journal.
    pub(in super::super) place: Option<u64>,
}

/// What was read of the journal.
#[derive(Debug, Default)]
pub(in super::super) struct ReadEvents {
    /// What the subscription wants, with its places.
    pub(in super::super) events: Vec<(u64, Bytes)>,
    /// Events up to this place were deleted, since enough are kept.
    pub(in super::super) removed: u64,
    /// Events that cannot be read any more.
    pub(in super::super) damaged: u64,
    /// All up to this place was read.
    pub(in super::super) through: u64,
}

impl Subscription {
    /// Adds events that lie side by side, all of which it wants.
    pub(in super::super) fn push_run(&self, run: Run, promise: Promise) {
        let mut state = self.state();
        state.load().settle(promise);
        let dropped = match &mut state.queue {
            Queue::Runs { runs, reader } => {
                let dropped = runs.push(run, None);
                wake(reader);
                dropped
            }
            Queue::Entries(entries) => {
                let mut place = run.first_place();
                let push = |event| {
                    let arrival = arrival(event, place, None);
                    place = place.map(|place| place + 1);
                    entries.push(arrival)
                };
                run.events().map(push).sum()
            }
        };
        drop(state);
        self.counts.dropped(dropped);
    }

    /// Adds an event that it wants.
    pub(in super::super) fn push(&self, coming: Coming<'_>, receipt: Option<Receipt>, promise: Promise) {
        let Coming { event, whole, view, place } = coming;
        let mut state = self.state();
        state.load().settle(promise);
        let dropped = match &mut state.queue {
            Queue::Runs { runs, reader } => {
                let run = Run::new(whole.clone(), 1, event.len());
                let run = run.map(|run| place.map_or(run.clone(), |place| run.at(place)));
                let dropped = run.map_or(0, |run| runs.push(run, receipt));
                wake(reader);
                dropped
            }
            Queue::Entries(entries) => {
                entries.push(Arrival { event: event.clone(), key: hash_of_key(view), place, receipt })
            }
        };
        drop(state);
        self.counts.dropped(dropped);
    }

    /// Adds a dead letter once more, if there is room for it.
    pub(in super::super) fn push_letter(&self, event: &Bytes, place: Option<u64>, letter: Redriven) -> bool {
        let mut state = self.state();
        match &mut state.queue {
            Queue::Entries(entries) if entries.room() > 0 => {
                entries.push_letter(arrival(event.clone(), place, None), letter);
                true
            }
            _ => false,
        }
    }

    /// Adds events that were read from the journal after what it had. `head` is the place up
    /// to which events have been given, or are about to be given, to those who are live.
    pub(in super::super) fn push_read(&self, read: ReadEvents, head: &AtomicU64) -> Consequences {
        let ReadEvents { events, removed, damaged, through } = read;
        let mut state = self.state();
        if let Queue::Entries(entries) = &mut state.queue {
            let removed = entries.progress.as_mut().map_or(0, |progress| progress.removed(removed));
            let missed = removed + damaged;
            if missed > 0 {
                tracing::warn!(subscription = %self.name, through, missed, "events were deleted or damaged before they were delivered");
                entries.miss(missed);
                self.counts.dropped(usize::try_from(missed).unwrap_or(usize::MAX));
            }
            for (place, event) in events {
                entries.push_read(arrival(event, Some(place), None));
            }
            if let Some(progress) = &mut entries.progress {
                // Looked at under the lock that the recorder takes for each event after it has moved the head: what is recorded later
                // finds this subscription live.
                progress.read_through(through, head.load(Ordering::SeqCst));
            }
        }
        self.after(state, Vec::new())
    }
}

pub(super) fn arrival(event: Bytes, place: Option<u64>, receipt: Option<Receipt>) -> Arrival {
    let key = EventRef::check(&event).ok().and_then(hash_of_key);
    Arrival { event, key, place, receipt }
}

fn hash_of_key(event: EventRef<'_>) -> Option<u64> {
    event.partition_key().map(|key| stable_hash(key.as_bytes()))
}
