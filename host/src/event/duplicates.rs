//! Which events were published a short time ago.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use plugmesh::cloudevents::EventRef;

use crate::resilience::stable_hash::{nth, stable_hash};

/// For how long an event is remembered: what JetStream does.
pub(super) const WINDOW: Duration = Duration::from_secs(120);

/// How many are remembered at most, which takes 27 MB: 8000 a second over the whole window. Where more are published the window is
/// shorter.
pub(super) const MAX_EVENTS: usize = 1_000_000;

/// Remembers events by hashes of their `source` and `id`, in the order in which they came.
///
/// The first hash has a random key, so that nobody can find two events with the same one. Two that have it by chance, once in some
/// twenty million full windows, are told apart by a second one.
#[derive(Debug)]
pub(super) struct Duplicates {
    key: RandomState,
    /// Where ages are counted from.
    began: Instant,
    /// Numbers of the events, by their hashes. The low 32 bits are enough, since no more are remembered.
    numbers: HashTable<u32>,
    /// The events, by their numbers.
    remembered: VecDeque<Remembered>,
    /// Number of the first of them.
    first: u64,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    hash: u64,
    second: u32,
    /// Milliseconds since the beginning; they begin anew after seven weeks.
    at: u32,
}

impl Duplicates {
    /// Remembers at most so many, counting from now.
    pub(super) fn new(most: usize, now: Instant) -> Self {
        Self {
            key: RandomState::new(),
            // What is remembered first may be older than this.
            began: now.checked_sub(2 * WINDOW).unwrap_or(now),
            numbers: HashTable::new(),
            remembered: VecDeque::new(),
            first: 0,
            most: most.clamp(1, u32::MAX as usize / 2),
        }
    }

    /// The number that the next new event gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.remembered.len() as u64
    }

    /// Remembers an event. `Err`: it is known, by this number.
    pub(super) fn add(&mut self, event: EventRef<'_>, at: Instant) -> Result<(), u64> {
        let hash = self.key.hash_one((event.source(), event.id()));
        let second = nth(stable_hash(event.id().as_bytes()), stable_hash(event.source().as_bytes())) as u32;
        let (remembered, first) = (&self.remembered, self.first);
        let get = |number: u32| remembered.get(number.wrapping_sub(first as u32) as usize);
        let is_it = |number: &u32| get(*number).is_some_and(|one| one.hash == hash && one.second == second);
        if let Some(number) = self.numbers.find(hash, is_it) {
            return Err(first + u64::from(number.wrapping_sub(first as u32)));
        }
        let next = self.next() as u32;
        self.numbers.insert_unique(hash, next, |number| get(*number).map_or(0, |one| one.hash));
        let at = self.millis(at);
        self.remembered.push_back(Remembered { hash, second, at });
        if self.remembered.len() > self.most {
            self.forget_first();
        }
        Ok(())
    }

    /// Forgets what is too old.
    pub(super) fn forget_before(&mut self, now: Instant) {
        let now = self.millis(now);
        while self.remembered.front().is_some_and(|one| is_too_old(one.at, now)) {
            self.forget_first();
        }
    }

    /// Takes back events that were not published after all.
    pub(super) fn take_back(&mut self, numbers: Range<u64>) {
        for number in numbers {
            let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            if let Some(one) = index.and_then(|index| self.remembered.get(index)) {
                forget(&mut self.numbers, one.hash, number);
            }
        }
    }

    fn forget_first(&mut self) {
        if let Some(one) = self.remembered.pop_front() {
            forget(&mut self.numbers, one.hash, self.first);
            self.first += 1;
        }
    }

    fn millis(&self, at: Instant) -> u32 {
        at.saturating_duration_since(self.began).as_millis() as u32
    }
}

/// Whether what came at a time is older than the window. What seems to be of the future is not.
fn is_too_old(at: u32, now: u32) -> bool {
    let age = now.wrapping_sub(at);
    age < u32::MAX / 2 && u128::from(age) > WINDOW.as_millis()
}

fn forget(numbers: &mut HashTable<u32>, hash: u64, number: u64) {
    if let Ok(known) = numbers.find_entry(hash, |known| *known == number as u32) {
        known.remove();
    }
}

#[cfg(test)]
mod tests {
    use plugmesh::cloudevents::Event;

    use super::*;

    fn event(source: &str, id: usize) -> Event {
        Event::builder("t", source).id(&id.to_string()).build().unwrap()
    }

    #[test]
    fn an_event_is_known_by_source_and_id() {
        let mut duplicates = Duplicates::new(10, Instant::now());
        let now = Instant::now();
        assert_eq!(duplicates.add(event("/a", 1).as_ref(), now), Ok(()));
        assert_eq!(duplicates.add(event("/b", 1).as_ref(), now), Ok(()));
        assert_eq!(duplicates.add(event("/a", 2).as_ref(), now), Ok(()));
        assert_eq!(duplicates.add(event("/a", 1).as_ref(), now), Err(0));
        assert_eq!(duplicates.add(event("/a", 2).as_ref(), now), Err(2));
        // One that is short for another's end does not pass for it.
        assert_eq!(duplicates.add(event("/a1", 1).as_ref(), now), Ok(()));
    }

    #[test]
    fn only_so_many_are_remembered_and_only_so_long() {
        let mut duplicates = Duplicates::new(3, Instant::now());
        let start = Instant::now();
        for id in 0..4 {
            assert_eq!(duplicates.add(event("/", id).as_ref(), start), Ok(()));
        }
        assert_eq!(duplicates.add(event("/", 3).as_ref(), start), Err(3));
        assert_eq!(duplicates.add(event("/", 0).as_ref(), start + WINDOW), Ok(()), "it was forgotten");
        duplicates.forget_before(start + WINDOW);
        assert_eq!(duplicates.add(event("/", 3).as_ref(), start + WINDOW), Err(3), "not yet");
        duplicates.forget_before(start + WINDOW + Duration::from_millis(1));
        assert_eq!(duplicates.add(event("/", 3).as_ref(), start), Ok(()));
        assert_eq!(duplicates.add(event("/", 0).as_ref(), start), Err(4));
        assert_eq!(duplicates.numbers.len(), duplicates.remembered.len());
    }

    #[test]
    fn what_was_taken_back_is_new() {
        let mut duplicates = Duplicates::new(10, Instant::now());
        let now = Instant::now();
        for id in 0..4 {
            assert_eq!(duplicates.add(event("/", id).as_ref(), now), Ok(()));
        }
        duplicates.take_back(1..3);
        assert_eq!(duplicates.add(event("/", 2).as_ref(), now), Ok(()));
        // What is left of its first time does not take it along.
        duplicates.forget_before(now);
        duplicates.most = 5;
        assert_eq!(duplicates.add(event("/", 9).as_ref(), now), Ok(()));
        for id in 10..13 {
            assert_eq!(duplicates.add(event("/", id).as_ref(), now), Ok(()));
        }
        assert_eq!(duplicates.add(event("/", 2).as_ref(), now), Err(4));
        assert_eq!(duplicates.add(event("/", 1).as_ref(), now), Ok(()));
    }
}
