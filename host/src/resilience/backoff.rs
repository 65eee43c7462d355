//! How long to wait before the next try.

use std::time::Duration;

/// An exponential pause, by gRPC's retry design (proposal A6 as changed in 2024): before the n-th retry
/// `min(initial × multiplier^(n−1), max) × random(1 − jitter, 1 + jitter)`.
///
/// The jitter is a share, not the whole pause as A6 had it before: a pause of nearly nothing helps nobody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Backoff {
    /// The pause before the first retry.
    pub(crate) initial: Duration,
    /// What the pause grows to, before the jitter.
    pub(crate) max: Duration,
    /// By what each pause is longer than the one before it.
    pub(crate) multiplier: f64,
    /// Share by which a pause may be shorter or longer, so that calls that failed together do not come back
    /// together.
    pub(crate) jitter: f64,
}

impl Default for Backoff {
    /// 100 ms doubled up to 5 s, give or take a fifth.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(5),
            multiplier: 2.0,
            jitter: 0.2,
        }
    }
}

impl Backoff {
    /// The pause before retry number `n`, counted from one.
    pub(crate) fn delay(&self, n: u32) -> Duration {
        self.delay_with(n, fastrand::f64())
    }

    /// The same, with the random number given: zero is the shortest pause, one the longest.
    pub(crate) fn delay_with(&self, n: u32, random: f64) -> Duration {
        let doublings = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
        // What grew beyond all numbers is infinite, and what is no number loses against the maximum.
        let pause =
            (self.initial.as_secs_f64() * self.multiplier.powi(doublings)).min(self.max.as_secs_f64());
        let jittered = pause * (1.0 + self.jitter * (2.0 * random - 1.0));
        Duration::try_from_secs_f64(jittered).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_up_to_the_maximum() {
        let backoff = Backoff::default();
        let pauses: Vec<_> = (0..9).map(|n| backoff.delay_with(n, 0.5).as_millis()).collect();
        assert_eq!(pauses, [100, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff.delay_with(1, 0.0), Duration::from_millis(80));
        assert_eq!(backoff.delay_with(1, 1.0), Duration::from_millis(120));
    }

    #[test]
    fn the_largest_number_of_retries_is_no_trap() {
        let steep = Backoff { multiplier: 1e300, ..Backoff::default() };
        assert_eq!(steep.delay_with(u32::MAX, 0.5), Duration::from_secs(5));
        let endless = Backoff { max: Duration::MAX, ..Backoff::default() };
        assert_eq!(endless.delay_with(u32::MAX, 1.0), Duration::MAX);
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(
            initial in 0u64..1 << 40, max in 0u64..1 << 50, multiplier in 1.0..10.0, jitter in 0.0..1.0, n: u32,
        ) {
            let (initial, max) = (Duration::from_nanos(initial), Duration::from_nanos(max));
            let pause = Backoff { initial, max, multiplier, jitter }.delay(n);
            let slack = Duration::from_micros(1);
            prop_assert!(pause <= max.mul_f64(1.0 + jitter) + slack);
            prop_assert!(pause + slack >= initial.min(max).mul_f64(1.0 - jitter));
        }
    }
}
