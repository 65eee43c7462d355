//! Events that nobody could handle.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::entries::{Cause, GivenUp};
use super::journal::{Change, DeadLetter, DeadLetterPage, JournalError, NewDeadLetter};
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
        memory.remove(&done.iter().map(|done| done.id).collect::<Vec<_>>());
        letters.into_iter().for_each(|letter| memory.add(letter));
    }

    /// Whether they are kept in memory.
    pub(super) fn are_in_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }

    /// A page of those of a subscription, or of all, whose id is above `after`; without those that are with their subscriptions again.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) async fn page(
        &self,
        subscription: Option<&str>,
        after: u64,
        most: usize,
    ) -> Result<DeadLetterPage, JournalError> {
        let mut after = after;
        loop {
            let mut page = match &self.place {
                Place::Log(log) => log.dead_letters(subscription.map(str::to_owned), after, most).await?,
                Place::Memory(memory) => lock(memory).page(subscription, after, most),
            };
            after = page.last().unwrap_or(after);
            page.letters.retain(|letter| !self.is_redriven(letter.id));
            if !page.letters.is_empty() || !page.has_more {
                return Ok(page);
            }
        }
    }

    /// The letter with that id, wherever it is.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) async fn find(&self, id: u64) -> Result<Option<DeadLetter>, JournalError> {
        match &self.place {
            Place::Log(log) => log.dead_letter(id).await,
            Place::Memory(memory) => Ok(lock(memory).letters.iter().find(|letter| letter.id == id).cloned()),
        }
    }

    fn is_redriven(&self, id: u64) -> bool {
        lock(&self.redriven).contains(&id)
    }

    /// Deletes those with these ids, or all if none is named, of a subscription or of all; but none that is with its subscription again.
    /// Gives how many.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub(super) async fn purge(&self, subscription: Option<&str>, ids: &[u64]) -> Result<u64, JournalError> {
        if ids.is_empty() {
            let (mut count, mut after) = (0, 0);
            loop {
                let page = self.page(subscription, after, PAGE).await?;
                after = page.last().unwrap_or(after);
                count += self.remove(page.letters.iter().map(|letter| letter.id)).await?;
                if !page.has_more {
                    return Ok(count);
                }
            }
        }
        let mut gone = Vec::with_capacity(ids.len());
        for id in ids {
            if self.find(*id).await?.is_some_and(|letter| letter.is_of(subscription)) {
                gone.push(*id);
            }
        }
        self.remove(gone.into_iter()).await
    }

    async fn remove(&self, ids: impl Iterator<Item = u64>) -> Result<u64, JournalError> {
        let ids: Vec<_> = ids.filter(|id| !self.is_redriven(*id)).collect();
        match &self.place {
            Place::Memory(memory) => Ok(lock(memory).remove(&ids)),
            Place::Log(_) if ids.is_empty() => Ok(0),
            Place::Log(log) => Ok(log.commit(vec![Change::RemoveDeadLetters(ids)]).await?.removed),
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

    fn page(&self, subscription: Option<&str>, after: u64, most: usize) -> DeadLetterPage {
        let mut page = DeadLetterPage::up_to(most);
        let mut wanted = self.letters.iter().filter(|letter| letter.id > after && letter.is_of(subscription));
        while let Some(letter) = wanted.next()
            && page.add(letter.clone())
        {}
        page
    }

    fn remove(&mut self, ids: &[u64]) -> u64 {
        let before = self.letters.len();
        self.letters.retain(|letter| !ids.contains(&letter.id));
        self.bytes = self.letters.iter().map(|letter| letter.letter.event.len()).sum();
        (before - self.letters.len()) as u64
    }
}

impl DeadLetter {
    /// Whether that subscription gave it up, or whether any will do.
    pub(super) fn is_of(&self, subscription: Option<&str>) -> bool {
        subscription.is_none_or(|name| self.letter.subscription == name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
