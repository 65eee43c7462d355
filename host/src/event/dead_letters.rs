//! Events that nobody could handle.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::entries::{Cause, GivenUp};
use super::journal::{Change, DeadLetter, JournalError, NewDeadLetter};
use super::log::Log;

/// Letters that are kept in memory, and their bytes: a look at what went wrong of late, not an archive. The oldest goes.
const MAX_LETTERS: usize = 1000;
const MAX_BYTES: usize = 16 << 20;

/// Of what a handler said, so much is kept.
const MAX_REASON: usize = 1024;

/// Letters that are read at once.
const PAGE: usize = 1000;

/// The dead letters of a host.
#[derive(Debug)]
pub(super) struct DeadLetters {
    place: Place,
    /// Those that are with their subscriptions again. They stay where they are until they are handled.
    redriven: Arc<Mutex<HashSet<u64>>>,
}

#[derive(Debug)]
enum Place {
    Memory(Mutex<Letters>),
    Log(Log),
}

#[derive(Debug, Default)]
struct Letters {
    letters: VecDeque<DeadLetter>,
    bytes: usize,
    last: u64,
}

/// A dead letter that is with its subscription again. It counts among the dead letters anew when this is dropped.
#[derive(Debug)]
pub(super) struct Redriven {
    id: u64,
    all: Arc<Mutex<HashSet<u64>>>,
}

impl Redriven {
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Redriven {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.id);
    }
}

/// What is to be kept of an event that a subscription gave up.
pub(super) fn letter(subscription: &str, given_up: &GivenUp) -> NewDeadLetter {
    let GivenUp { entry, cause, reason } = given_up;
    let end = (0..=MAX_REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    let reason = reason[..end.unwrap_or_default()].to_owned();
    let (now, instant) = (SystemTime::now(), super::bus::now());
    let age =
        |since: Option<Instant>| since.map_or_else(Default::default, |since| instant.duration_since(since));
    tracing::warn!(subscription, attempts = entry.attempts, reason, "an event was given up");
    NewDeadLetter {
        subscription: subscription.to_owned(),
        place: entry.place,
        event: entry.event.clone(),
        cause: cause.to_wire(),
        reason,
        attempts: entry.attempts,
        first_delivered: now - age(entry.first_delivered),
        given_up: now,
    }
}

impl Cause {
    fn to_wire(self) -> plugmesh::event::v1::Cause {
        match self {
            Self::MaxAttempts => plugmesh::event::v1::Cause::MaxAttempts,
            Self::Rejected => plugmesh::event::v1::Cause::Rejected,
        }
    }
}

impl DeadLetters {
    /// Those of a host with a journal, or without.
    pub(super) fn new(log: Option<Log>) -> Self {
        let place = log.map_or_else(|| Place::Memory(Mutex::default()), Place::Log);
        Self { place, redriven: Arc::default() }
    }

    /// Keeps letters in memory and removes others. With a journal, what is kept goes there.
    pub(super) fn keep_in_memory(&self, letters: Vec<NewDeadLetter>, done: &[Redriven]) {
        let Place::Memory(memory) = &self.place else { return };
        let mut memory = lock(memory);
        memory.remove(|letter| done.iter().any(|done| done.id == letter.id));
        letters.into_iter().for_each(|letter| memory.add(letter));
    }

    /// Whether they are kept in memory.
    pub(super) fn are_in_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }

    /// Those of a subscription, or of all, whose id is above `after`, the oldest first; without those that are with their
    /// subscriptions again.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) async fn list(
        &self,
        subscription: Option<&str>,
        after: u64,
        most: usize,
    ) -> Result<Vec<DeadLetter>, JournalError> {
        let log = match &self.place {
            Place::Log(log) => log,
            Place::Memory(memory) => {
                let redriven = lock(&self.redriven);
                let memory = lock(memory);
                let wanted = memory.letters.iter().filter(|letter| {
                    letter.id > after && is_of(letter, subscription) && !redriven.contains(&letter.id)
                });
                return Ok(wanted.take(most).cloned().collect());
            }
        };
        let (mut found, mut after) = (Vec::new(), after);
        while found.len() < most {
            let page = log.dead_letters(subscription.map(str::to_owned), after, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map_or(after, |last| last.id);
            let redriven = lock(&self.redriven);
            found.extend(page.into_iter().filter(|letter| !redriven.contains(&letter.id)));
            if is_last {
                break;
            }
        }
        found.truncate(most);
        Ok(found)
    }

    /// Deletes those with these ids, or all if none is named, of a subscription or of all. Gives how many.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) async fn purge(&self, subscription: Option<&str>, ids: &[u64]) -> Result<u64, JournalError> {
        let is_meant =
            |letter: &DeadLetter| is_of(letter, subscription) && (ids.is_empty() || ids.contains(&letter.id));
        let log = match &self.place {
            Place::Log(log) => log,
            Place::Memory(memory) => {
                let redriven = lock(&self.redriven);
                return Ok(lock(memory).remove(|letter| is_meant(letter) && !redriven.contains(&letter.id)));
            }
        };
        let (mut count, mut after) = (0, 0);
        loop {
            let page = self.list(subscription, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(count) };
            after = last.id;
            let gone: Vec<_> =
                page.iter().filter(|letter| is_meant(letter)).map(|letter| letter.id).collect();
            if !gone.is_empty() {
                count += log.commit(vec![Change::RemoveDeadLetters(gone)]).await?.removed;
            }
        }
    }

    /// Takes a letter that goes to its subscription again. `None`: it is there already.
    pub(super) fn redrive(&self, id: u64) -> Option<Redriven> {
        lock(&self.redriven).insert(id).then(|| Redriven { id, all: self.redriven.clone() })
    }
}

impl Letters {
    fn add(&mut self, letter: NewDeadLetter) {
        self.last += 1;
        self.bytes += letter.event.len();
        self.letters.push_back(DeadLetter { id: self.last, letter, is_sound: true });
        while self.letters.len() > MAX_LETTERS || self.bytes > MAX_BYTES && self.letters.len() > 1 {
            if let Some(oldest) = self.letters.pop_front() {
                self.bytes -= oldest.letter.event.len();
                tracing::warn!(
                    id = oldest.id,
                    "the oldest dead letter was dropped: this host keeps no journal"
                );
            }
        }
    }

    fn remove(&mut self, is_meant: impl Fn(&DeadLetter) -> bool) -> u64 {
        let before = self.letters.len();
        self.letters.retain(|letter| !is_meant(letter));
        self.bytes = self.letters.iter().map(|letter| letter.letter.event.len()).sum();
        (before - self.letters.len()) as u64
    }
}

fn is_of(letter: &DeadLetter, subscription: Option<&str>) -> bool {
    subscription.is_none_or(|name| letter.letter.subscription == name)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
