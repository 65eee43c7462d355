//! Which events were published a short time ago.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::ops::Range;
use std::time::{Duration, Instant};

use plugmesh::cloudevents::EventRef;

use crate::resilience::stable_hash::{nth, stable_hash};

/// For how long an event is remembered: what JetStream does.
pub(super) const WINDOW: Duration = Duration::from_secs(120);

/// How many are remembered at most, which takes some 70 MB: 8000 a second over the whole window. Where more are published the window is
/// shorter.
pub(super) const MAX_EVENTS: usize = 1_000_000;

/// Remembers events by hashes of their `source` and `id`, in the order in which they came.
///
/// The first hash has a random key, so that nobody can find two events with the same one. Two that have it by chance, once in some
/// twenty million full windows, are told apart by a second one.
#[derive(Debug)]
pub(super) struct Duplicates {
    key: RandomState,
    /// Number of the event with a hash.
    numbers: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
    /// The hashes of events, by their numbers.
    hashes: VecDeque<Remembered>,
    /// Number of the first of them.
    first: u64,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    at: Instant,
    hash: u64,
    second: u64,
}

impl Duplicates {
    /// Remembers at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            key: RandomState::new(),
            numbers: HashMap::default(),
            hashes: VecDeque::new(),
            first: 0,
            most: most.max(1),
        }
    }

    /// The number that the next new event gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.hashes.len() as u64
    }

    /// Remembers an event. `Err`: it is known, by this number.
    pub(super) fn add(&mut self, event: EventRef<'_>, at: Instant) -> Result<(), u64> {
        let hash = self.key.hash_one((event.source(), event.id()));
        let second = nth(stable_hash(event.id().as_bytes()), stable_hash(event.source().as_bytes()));
        let next = self.next();
        match self.numbers.entry(hash) {
            Entry::Occupied(mut known) => {
                let number = *known.get();
                let index = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
                if self.hashes.get(index).is_some_and(|remembered| remembered.second == second) {
                    return Err(number);
                }
                known.insert(next);
            }
            Entry::Vacant(vacant) => drop(vacant.insert(next)),
        }
        self.hashes.push_back(Remembered { at, hash, second });
        if self.hashes.len() > self.most {
            self.forget_first();
        }
        Ok(())
    }

    /// Forgets what is too old.
    pub(super) fn forget_before(&mut self, now: Instant) {
        while self.hashes.front().is_some_and(|first| now.saturating_duration_since(first.at) > WINDOW) {
            self.forget_first();
        }
    }

    /// Takes back events that were not published after all.
    pub(super) fn take_back(&mut self, numbers: Range<u64>) {
        for number in numbers {
            let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            if let Some(remembered) = index.and_then(|index| self.hashes.get(index)) {
                forget(&mut self.numbers, remembered.hash, number);
            }
        }
    }

    fn forget_first(&mut self) {
        if let Some(remembered) = self.hashes.pop_front() {
            forget(&mut self.numbers, remembered.hash, self.first);
            self.first += 1;
        }
    }
}

/// Forgets an event, unless its hash is that of a later one by now.
fn forget(numbers: &mut HashMap<u64, u64, BuildHasherDefault<AsItIs>>, hash: u64, number: u64) {
    if let Entry::Occupied(known) = numbers.entry(hash)
        && *known.get() == number
    {
        known.remove();
    }
}

/// What is hashed already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
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
        let mut duplicates = Duplicates::new(10);
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
        let mut duplicates = Duplicates::new(3);
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
        assert_eq!(duplicates.numbers.len(), duplicates.hashes.len());
    }

    #[test]
    fn what_was_taken_back_is_new() {
        let mut duplicates = Duplicates::new(10);
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
