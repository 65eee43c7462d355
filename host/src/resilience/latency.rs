//! How long calls take, as a histogram that many threads fill.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::nanos;
use super::sharded::{Padded, mine, shards};

/// The upper bounds of the buckets in seconds, as Prometheus wants them: 1, 2, 5 a decade from 10 µs, which a
/// call over a Unix socket takes, to the minute after which nobody waits any more.
pub(crate) const BOUNDS: [f64; 21] = [
    10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0, 10.0, 30.0, 60.0,
];

/// Buckets, with the one for all that took longer than the last bound.
pub(crate) const BUCKETS: usize = BOUNDS.len() + 1;

/// The same bounds in nanoseconds; nothing is above the last.
const BOUNDS_NANOS: [u64; BUCKETS] = bounds_nanos();

/// For each power of two, the first bucket that a number with that highest bit can be in. At most two bounds
/// lie between a power and the next, so two comparisons lead to the right one.
const FIRST_BUCKET: [u8; 64] = first_buckets();

/// A histogram of durations. Recording is two relaxed additions on a shard that threads seldom share.
#[derive(Debug)]
pub(crate) struct LatencyHistogram {
    shards: Box<[Padded<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    buckets: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
}

/// What a histogram held at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LatencySnapshot {
    /// Of each bucket, how many durations were at most its bound; the last is how many there were.
    pub(crate) cumulative: [u64; BUCKETS],
    /// Their sum.
    pub(crate) sum: Duration,
}

impl LatencyHistogram {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self { shards: shards() }
    }

    /// Counts one duration.
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = nanos(duration);
        let Some(Padded(shard)) = mine(&self.shards) else { return };
        if let Some(bucket) = shard.buckets.get(bucket_of(nanos)) {
            bucket.fetch_add(1, Relaxed);
            // After 584 years of calls it starts again, as counters may.
            shard.sum_nanos.fetch_add(nanos, Relaxed);
        }
    }

    /// What it holds. A duration that is recorded meanwhile may be in the buckets and not in the sum.
    pub(crate) fn snapshot(&self) -> LatencySnapshot {
        let mut cumulative = [0; BUCKETS];
        let mut sum = 0u64;
        for Padded(shard) in &self.shards {
            let mut below = 0;
            for (total, bucket) in cumulative.iter_mut().zip(&shard.buckets) {
                below += bucket.load(Relaxed);
                *total += below;
            }
            sum = sum.wrapping_add(shard.sum_nanos.load(Relaxed));
        }
        LatencySnapshot { cumulative, sum: Duration::from_nanos(sum) }
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencySnapshot {
    /// How many durations.
    pub(crate) fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or_default()
    }

    /// What was recorded after `earlier`, a snapshot of the same histogram.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut cumulative = self.cumulative;
        for (now, then) in cumulative.iter_mut().zip(&earlier.cumulative) {
            *now = now.saturating_sub(*then);
        }
        Self { cumulative, sum: self.sum.saturating_sub(earlier.sum) }
    }

    /// The duration that the share `q` of all, between zero and one, did not exceed: interpolated within its
    /// bucket as Prometheus does. What took longer than the last bound counts as the last bound. `None` when
    /// there are none.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        if self.count() == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * self.count() as f64;
        let (mut lower, mut below) = (0.0, 0);
        for (bound, cumulative) in BOUNDS.into_iter().zip(self.cumulative) {
            if cumulative > below && cumulative as f64 >= rank {
                let share = (rank - below as f64) / (cumulative - below) as f64;
                return Some(Duration::from_secs_f64(lower + (bound - lower) * share.max(0.0)));
            }
            (lower, below) = (bound, cumulative);
        }
        Some(Duration::from_secs_f64(lower))
    }
}

fn bucket_of(nanos: u64) -> usize {
    let highest_bit = 63 - (nanos | 1).leading_zeros();
    let mut bucket = usize::from(FIRST_BUCKET.get(highest_bit as usize).copied().unwrap_or_default());
    for _ in 0..2 {
        bucket += usize::from(BOUNDS_NANOS.get(bucket).is_some_and(|bound| nanos > *bound));
    }
    bucket
}

const fn bounds_nanos() -> [u64; BUCKETS] {
    let mut nanos = [u64::MAX; BUCKETS];
    let mut n = 0;
    while n < BOUNDS.len() {
        // Rounded: the cast of 20e-6 × 1e9 would lose one.
        nanos[n] = (BOUNDS[n] * 1e9 + 0.5) as u64;
        n += 1;
    }
    nanos
}

const fn first_buckets() -> [u8; 64] {
    let mut first = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        let mut bucket = 0;
        while BOUNDS_NANOS[bucket] < 1 << bit {
            bucket += 1;
        }
        first[bit] = bucket as u8;
        bit += 1;
    }
    first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_what_they_say() {
        assert_eq!(BOUNDS_NANOS[..7], [10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000]);
        assert_eq!(BOUNDS_NANOS[20..], [60_000_000_000, u64::MAX]);
        assert!(BOUNDS_NANOS.is_sorted());
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (bucket, bound) in BOUNDS_NANOS.into_iter().enumerate() {
            assert_eq!(bucket_of(bound), bucket);
            assert_eq!(bucket_of(bound.saturating_add(1)), (bucket + 1).min(BUCKETS - 1));
        }
        assert_eq!(bucket_of(0), 0);
    }

    #[test]
    fn counts_from_many_threads() {
        let histogram = LatencyHistogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|n| histogram.record(Duration::from_micros(n))));
            }
        });
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 40_000);
        assert_eq!(snapshot.sum, Duration::from_micros(4 * 9_999 * 10_000 / 2));
        assert_eq!(snapshot.cumulative[0], 4 * 11);
        assert_eq!(snapshot.cumulative[6], 4 * 1_001);
        assert_eq!(snapshot.cumulative[9], 40_000);
    }

    #[test]
    fn quantiles_of_known_distributions() {
        let histogram = LatencyHistogram::new();
        assert_eq!(histogram.snapshot().quantile(0.5), None);
        // Even between 10 and 20 ms: interpolation is exact.
        for n in 1..=10_000 {
            histogram.record(Duration::from_micros(10_000 + n));
        }
        let even = histogram.snapshot();
        for (q, micros) in [(0.0, 10_000.0), (0.5, 15_000.0), (0.95, 19_500.0), (1.0, 20_000.0)] {
            let found = even.quantile(q).unwrap().as_secs_f64() * 1e6;
            assert!((found - micros).abs() < 2.0, "{q}: {found}");
        }
        // 96 of 100 are fast now.
        for _ in 0..240_000 {
            histogram.record(Duration::from_micros(150));
        }
        assert!(histogram.snapshot().quantile(0.95).unwrap() <= Duration::from_micros(200));
        // And what went before can be taken off.
        let later = histogram.snapshot().since(&even);
        assert_eq!((later.count(), later.sum), (240_000, Duration::from_secs(36)));
        histogram.record(Duration::from_secs(3_600));
        assert_eq!(histogram.snapshot().quantile(1.0), Some(Duration::from_secs(60)));
    }

    proptest! {
        #[test]
        fn finds_the_same_bucket_as_a_search(nanos in any::<u64>(), shift in 0u32..64) {
            let nanos = nanos >> shift;
            prop_assert_eq!(bucket_of(nanos), BOUNDS_NANOS.iter().position(|bound| nanos <= *bound).unwrap());
        }

        #[test]
        fn quantiles_lie_in_the_right_bucket(
            mut micros in proptest::collection::vec(1u64..50_000_000, 1..200), q in 0.0f64..1.0,
        ) {
            let histogram = LatencyHistogram::new();
            micros.iter().for_each(|micros| histogram.record(Duration::from_micros(*micros)));
            micros.sort_unstable();
            let rank = ((q * micros.len() as f64).ceil() as usize).max(1);
            let exact = micros[rank - 1] * 1_000;
            let found: u64 = nanos(histogram.snapshot().quantile(q).unwrap());
            let bucket = bucket_of(exact);
            let lower = if bucket == 0 { 0 } else { BOUNDS_NANOS[bucket - 1] };
            // A nanosecond for the rounding of seconds as a fraction.
            prop_assert!(found + 1 >= lower && found <= BOUNDS_NANOS[bucket] + 1, "{found} for {exact}");
        }
    }
}
