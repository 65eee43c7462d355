//! What this host has published and not seen on the tail of the stream yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::bounds::Promise;
use super::super::matches::Matches;
use super::super::publish::kept;
use super::super::receipt::Ticket;
use super::super::recorder::Turn;

/// Messages by their numbers.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<u64, One>>);

/// An event that this host has published.
#[derive(Debug)]
pub(super) struct One {
    promised: Arc<Promised>,
    bytes: usize,
    /// Who waits until it is handled, and where it was in what was published.
    pub(super) awaits: Option<(Arc<Ticket>, usize)>,
    /// Its place, once the stream has said so.
    place: Option<u64>,
}

/// What events have in common that were published together.
#[derive(Debug)]
pub(super) struct Promised {
    /// Who wanted them when they were published, and has promised room for them.
    pub(super) matches: Arc<Matches>,
    /// Ends when all of them are there, or refused.
    pub(super) _turn: Turn,
}

impl One {
    pub(super) fn new(promised: Arc<Promised>, bytes: usize, awaits: Option<(Arc<Ticket>, usize)>) -> Self {
        Self { promised, bytes, awaits, place: None }
    }
}

impl Drop for One {
    /// The room that was promised is for whoever comes next.
    fn drop(&mut self) {
        for subscription in &self.promised.matches.subscriptions {
            subscription.settle(kept(subscription, Promise { events: 1, bytes: self.bytes }));
        }
    }
}

impl Pending {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, One>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, number: u64, one: One) {
        self.all().insert(number, one);
    }

    /// It is there, or will never be.
    pub(super) fn take(&self, number: u64) -> Option<One> {
        self.all().remove(&number)
    }

    /// It has this place, and comes unless it was there already. `seen`: up to there all have come.
    pub(super) fn is_at(&self, number: u64, place: u64, seen: u64) {
        let mut all = self.all();
        if place <= seen {
            let passed = all.remove(&number);
            drop(all);
            drop(passed);
        } else if let Some(one) = all.get_mut(&number) {
            one.place = Some(place);
        }
    }

    /// All before a place have come that ever will.
    pub(super) fn passed(&self, place: u64) {
        let mut all = self.all();
        let passed: Vec<_> = all.extract_if(|_, one| one.place.is_some_and(|one| one < place)).collect();
        drop(all);
        drop(passed);
    }
}
