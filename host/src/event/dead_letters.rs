//! Events that nobody could handle.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::entries::{Cause, GivenUp};

/// Letters that are kept in memory, and their bytes: a look at what went wrong of late, not an archive. The oldest goes.
const MAX_LETTERS: usize = 1000;
const MAX_BYTES: usize = 16 << 20;

/// Of what a handler said, so much is kept.
const MAX_REASON: usize = 1024;

/// An event that was given up.
#[derive(Clone, Debug)]
pub(super) struct DeadLetter {
    pub(super) id: u64,
    /// Who gave it up.
    pub(super) subscription: Arc<str>,
    pub(super) event: Bytes,
    pub(super) cause: Cause,
    pub(super) reason: String,
    pub(super) attempts: u32,
    pub(super) first_delivered: SystemTime,
    pub(super) given_up: SystemTime,
}

/// The dead letters of a host without a journal.
#[derive(Debug, Default)]
pub(super) struct DeadLetters(Mutex<Letters>);

#[derive(Debug, Default)]
struct Letters {
    letters: VecDeque<DeadLetter>,
    bytes: usize,
    last: u64,
    /// Those that made room for others.
    forgotten: u64,
}

impl DeadLetters {
    pub(super) fn add(&self, subscription: &Arc<str>, given_up: GivenUp) {
        let GivenUp { entry, cause, mut reason } = given_up;
        let end = (0..=MAX_REASON).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or_default();
        reason.truncate(end);
        let (now, instant) = (SystemTime::now(), super::bus::now());
        let age = |since: Option<Instant>| {
            since.map_or_else(Default::default, |since| instant.duration_since(since))
        };
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        letters.last += 1;
        letters.bytes += entry.event.len();
        let letter = DeadLetter {
            id: letters.last,
            subscription: subscription.clone(),
            cause,
            reason,
            attempts: entry.attempts,
            first_delivered: now - age(entry.first_delivered),
            given_up: now,
            event: entry.event,
        };
        tracing::warn!(subscription = %letter.subscription, attempts = letter.attempts, reason = %letter.reason, "an event was given up");
        letters.letters.push_back(letter);
        while letters.letters.len() > MAX_LETTERS || letters.bytes > MAX_BYTES && letters.letters.len() > 1 {
            if let Some(oldest) = letters.letters.pop_front() {
                letters.bytes -= oldest.event.len();
                letters.forgotten += 1;
            }
        }
    }

    /// Those of a subscription, or of all, behind an id.
    pub(super) fn list(&self, subscription: Option<&str>, after: u64, most: usize) -> Vec<DeadLetter> {
        let letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = letters.letters.iter().filter(|letter| letter.id > after && is_of(letter, subscription));
        wanted.take(most).cloned().collect()
    }

    /// Takes out those with these ids, or all if none is named, of a subscription or of all.
    pub(super) fn remove(&self, subscription: Option<&str>, ids: &[u64]) -> Vec<DeadLetter> {
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut letters.letters);
        let (gone, left): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|letter| is_of(letter, subscription) && (ids.is_empty() || ids.contains(&letter.id)));
        letters.letters = left.into();
        letters.bytes -= gone.iter().map(|letter| letter.event.len()).sum::<usize>();
        gone
    }

    /// Puts back what was taken out, where it was.
    pub(super) fn put_back(&self, back: Vec<DeadLetter>) {
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        letters.bytes += back.iter().map(|letter| letter.event.len()).sum::<usize>();
        letters.letters.extend(back);
        letters.letters.make_contiguous().sort_by_key(|letter| letter.id);
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).letters.len()
    }
}

fn is_of(letter: &DeadLetter, subscription: Option<&str>) -> bool {
    subscription.is_none_or(|name| *letter.subscription == *name)
}
