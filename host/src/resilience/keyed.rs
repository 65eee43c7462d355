//! A limit on the rate of calls for each of many callers.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;

use super::clock::Moment;
use super::token_bucket::Rate;

/// Parts with a lock each, so that callers seldom wait for one another.
const SHARDS: usize = 256;

/// Keys in a part. Few enough to look through all of them when it is full, which takes about a microsecond. All parts have room for the
/// callers of a host within the seconds that a bucket takes to fill, in 384 KiB.
const KEYS_PER_SHARD: usize = 64;

/// Token buckets by key, all with the same rate.
///
/// A bucket that is full is the same as one that was forgotten, so full ones are dropped when room is
/// needed, and nothing is lost by it. Only when all keys of a part are in debt is the one forgotten that would be out
/// of debt first.
#[derive(Debug)]
pub(crate) struct KeyedBuckets {
    rate: Rate,
    hasher: RandomState,
    /// When the bucket of each key will be full again. Keys are kept as hashes with a secret seed: nothing to
    /// allocate, and two callers that share a bucket are less likely than a broken machine.
    shards: Box<[Mutex<HashMap<u64, u64, RandomState>>]>,
}

impl KeyedBuckets {
    /// Every key has a full bucket.
    pub(crate) fn new(rate: Rate) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { rate, hasher: RandomState::default(), shards }
    }

    /// Takes a token of `key`, or says how long until there will be one. A lock that few share, for a moment.
    pub(crate) fn try_take<K: Hash + ?Sized>(&self, key: &K, now: Moment) -> Result<(), Duration> {
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shards.get(hash as usize % SHARDS) else { return Ok(()) };
        let mut buckets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = buckets.get_mut(&hash) {
            *full_at = self.rate.take(*full_at, now)?;
            return Ok(());
        }
        let full_at = self.rate.take(0, now)?;
        if buckets.len() >= KEYS_PER_SHARD {
            make_room(&mut buckets, now);
        }
        buckets.insert(hash, full_at);
        Ok(())
    }

    /// How many keys are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

/// Drops the full buckets, or else the one that will be full first.
fn make_room(buckets: &mut HashMap<u64, u64, RandomState>, now: Moment) {
    let first = buckets.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, full_at)| (*key, *full_at));
    match first {
        Some((_, full_at)) if full_at <= now.as_nanos() => {
            buckets.retain(|_, full_at| *full_at > now.as_nanos());
        }
        Some((key, _)) => drop(buckets.remove(&key)),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::token_bucket::TokenBucket;
    use super::*;

    const MAX_KEYS: usize = SHARDS * KEYS_PER_SHARD;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn each_key_has_its_own() {
        let buckets = KeyedBuckets::new(Rate::new(1.0, 2));
        assert_eq!((0..5).filter(|_| buckets.try_take("a", at(0)).is_ok()).count(), 2);
        assert_eq!((0..5).filter(|_| buckets.try_take("b", at(0)).is_ok()).count(), 2);
        assert_eq!(buckets.try_take("a", at(400)), Err(Duration::from_millis(600)));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let buckets = KeyedBuckets::new(Rate::new(0.001, 1));
        for key in 0..3 * MAX_KEYS {
            assert_eq!(buckets.try_take(&key, at(key as u64)), Ok(()));
        }
        assert_eq!(buckets.len(), MAX_KEYS);
        // The oldest had to go; the newest are still held to account.
        let last = 3 * MAX_KEYS - 1;
        assert!((last - 1_000..=last).all(|key| buckets.try_take(&key, at(last as u64)).is_err()));
    }

    #[test]
    fn full_buckets_are_dropped_before_any_debt_is() {
        let buckets = KeyedBuckets::new(Rate::new(1.0, 10));
        for _ in 0..10 {
            buckets.try_take("debtor", at(0)).unwrap();
        }
        // These are full again after a second each, the debtor only after ten.
        for key in 0..40_000u64 {
            buckets.try_take(&key, at(key / 8)).unwrap();
        }
        assert!(buckets.len() <= MAX_KEYS);
        assert_eq!((0..10).filter(|_| buckets.try_take("debtor", at(5_000)).is_ok()).count(), 5);
    }

    #[test]
    fn threads_at_once_never_get_more() {
        let buckets = KeyedBuckets::new(Rate::new(1.0, 100));
        let work = || (0..5_000u64).filter(|n| buckets.try_take(&(n % 7), at(0)).is_ok()).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 700);
    }

    proptest! {
        #[test]
        fn agrees_with_a_bucket_for_each(calls in proptest::collection::vec((0u64..400, 0usize..5), 1..300)) {
            let rate = Rate::new(3.0, 4);
            let (buckets, mut now) = (KeyedBuckets::new(rate), 0);
            let single: Vec<_> = (0..5).map(|_| TokenBucket::new(rate)).collect();
            for (pause, key) in calls {
                now += pause;
                prop_assert_eq!(buckets.try_take(&key, at(now)), single[key].try_take(at(now)));
            }
        }
    }
}
