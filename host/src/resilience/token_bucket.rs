//! A limit on the rate of calls.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::Moment;

/// The longest time between two tokens, so that a rate of next to nothing stays a number to reckon with.
const MAX_INTERVAL: u64 = 365 * 24 * 3_600 * 1_000_000_000;

/// A rate and a burst as the generic cell rate algorithm has them (ITU-T I.371): a token bucket whose whole
/// state is one moment, when the bucket will be full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds between two tokens, rounded up: never more than the rate.
    interval: u64,
    /// Nanoseconds in which an empty bucket becomes full.
    depth: u64,
}

/// A token bucket in one atomic. A call that is refused writes nothing, so refusing stays cheap however
/// many there are.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: Rate,
    /// When it will be full again; in the past when it is.
    full_at: AtomicU64,
}

impl Rate {
    /// That many tokens a second, and at most `burst` at once. A burst of zero counts as one. A rate that is
    /// not above zero lets the burst pass, and then about one call a year.
    pub(crate) fn new(per_second: f64, burst: u32) -> Self {
        let interval = if per_second > 0.0 { (1e9 / per_second).ceil() } else { f64::INFINITY };
        // The cast saturates.
        let interval = (interval as u64).clamp(1, MAX_INTERVAL);
        Self { interval, depth: interval.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Takes one token from a bucket that will be full at `full_at`: when it will be full afterwards, or how
    /// long until there is a token.
    pub(super) fn take(self, full_at: u64, now: Moment) -> Result<u64, Duration> {
        let now = now.as_nanos();
        let next = full_at.max(now).saturating_add(self.interval);
        let latest = now.saturating_add(self.depth);
        if next <= latest { Ok(next) } else { Err(Duration::from_nanos(next - latest)) }
    }
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, full_at: AtomicU64::new(0) }
    }

    /// Takes a token, or says how long until there will be one if nobody else takes it.
    pub(crate) fn try_take(&self, now: Moment) -> Result<(), Duration> {
        let mut full_at = self.full_at.load(Relaxed);
        loop {
            let next = self.rate.take(full_at, now)?;
            match self.full_at.compare_exchange_weak(full_at, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => full_at = changed,
            }
        }
    }

    /// The tokens that are there.
    #[cfg(test)]
    fn available(&self, now: Moment) -> u64 {
        let until_full = Moment::from_nanos(self.full_at.load(Relaxed)).since(now);
        let filled = Duration::from_nanos(self.rate.depth).saturating_sub(until_full);
        super::clock::nanos(filled) / self.rate.interval
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn gives_the_burst_then_the_rate() {
        let bucket = TokenBucket::new(Rate::new(10.0, 3));
        assert_eq!(bucket.available(at(0)), 3);
        assert_eq!((0..10).filter(|_| bucket.try_take(at(0)).is_ok()).count(), 3);
        assert_eq!(bucket.try_take(at(0)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.try_take(at(60)), Err(Duration::from_millis(40)));
        assert_eq!(bucket.try_take(at(100)), Ok(()));
        assert_eq!((bucket.available(at(100)), bucket.available(at(350))), (0, 2));
        // An idle hour gives no more than the burst.
        assert_eq!((0..10).filter(|_| bucket.try_take(at(3_600_000)).is_ok()).count(), 3);
    }

    #[test]
    fn odd_settings_do_no_harm() {
        let one = TokenBucket::new(Rate::new(0.0, 0));
        assert_eq!(one.try_take(at(0)), Ok(()));
        assert!(one.try_take(at(1_000_000_000)).is_err());
        for rate in [f64::NAN, f64::NEG_INFINITY, 1e-300] {
            let bucket = TokenBucket::new(Rate::new(rate, 1));
            assert_eq!(bucket.try_take(at(0)), Ok(()));
            assert!(bucket.try_take(at(10_000_000_000)).is_err());
            let deep = TokenBucket::new(Rate::new(rate, u32::MAX));
            assert!((0..100).all(|_| deep.try_take(at(0)).is_ok()));
        }
        let fast = TokenBucket::new(Rate::new(f64::INFINITY, 5));
        assert_eq!((0..9).filter(|_| fast.try_take(at(0)).is_ok()).count(), 5);
    }

    #[test]
    fn threads_at_once_never_get_more() {
        let bucket = TokenBucket::new(Rate::new(1_000.0, 50));
        let taken: usize = std::thread::scope(|scope| {
            // Each goes through the same second.
            let work =
                || (0..50_000).filter(|n| bucket.try_take(Moment::from_nanos(n * 20_000)).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!((1_040..=1_050).contains(&taken), "{taken}");
    }

    proptest! {
        /// Whole nanoseconds per token, so that the naive bucket can count without rounding.
        #[test]
        fn agrees_with_a_bucket_that_counts(
            interval in 1u64..1_000, burst in 1u32..20,
            pauses in proptest::collection::vec(0u64..5_000, 1..200),
        ) {
            let bucket = TokenBucket::new(Rate { interval, depth: interval * u64::from(burst) });
            // In nanoseconds' worth of tokens.
            let (full, mut level, mut now) = (interval * u64::from(burst), interval * u64::from(burst), 0);
            for pause in pauses {
                now += pause;
                level = (level + pause).min(full);
                prop_assert_eq!(bucket.available(Moment::from_nanos(now)), level / interval);
                match bucket.try_take(Moment::from_nanos(now)) {
                    Ok(()) => {
                        prop_assert!(level >= interval);
                        level -= interval;
                    }
                    Err(wait) => prop_assert_eq!(wait, Duration::from_nanos(interval - level)),
                }
            }
        }
    }
}
