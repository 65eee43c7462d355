//! Counts of the last ten seconds, without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::Moment;

/// What one bucket covers.
const BUCKET: Duration = Duration::from_secs(1);

/// Bits of each count in a bucket: 524,287 calls in a second. A bucket that is full takes no more, so the
/// share of marked ones stays that of the first half million.
const COUNT_BITS: u32 = 19;

/// The largest count of a bucket.
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Bits of the lap: how often the buckets have been gone round. With ten buckets of a second it comes round
/// after 2²⁶ × 10 s = 21 years of uptime, and only then could a bucket that nothing touched for exactly that
/// long count again.
const LAP_BITS: u32 = u64::BITS - 2 * COUNT_BITS;

/// Laps by which a bucket may be ahead of a thread that took the time and was then delayed.
const AHEAD: u64 = 1 << 10;

/// Events, and how many of them were of the marked kind: calls and failures, say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All events.
    pub(crate) total: u32,
    /// The marked ones among them.
    pub(crate) marked: u32,
}

/// Counts over the last `BUCKETS` seconds in exact one-second buckets: the second that runs, and the
/// `BUCKETS - 1` whole ones before it. So ten buckets cover between nine and ten seconds, and never more.
///
/// Exact buckets, as linkerd's breaker has them, instead of a decaying average: what left the window has no
/// say at all, so failures expire.
#[derive(Debug)]
pub(crate) struct Window<const BUCKETS: usize = 10> {
    /// Each packs its lap, its marked count and its total into one word, so that no reader sees half of a
    /// change and no writer adds to a bucket that another has just begun anew.
    buckets: [AtomicU64; BUCKETS],
}

/// A bucket, unpacked.
#[derive(Clone, Copy)]
struct Bucket {
    lap: u64,
    counts: Counts,
}

impl Counts {
    /// One event that is not marked.
    pub(crate) const PLAIN: Self = Self { total: 1, marked: 0 };
    /// One marked event.
    pub(crate) const MARKED: Self = Self { total: 1, marked: 1 };

    /// The share of events that are not marked; one when there are none.
    pub(crate) fn plain_share(self) -> f64 {
        if self.total == 0 {
            return 1.0;
        }
        f64::from(self.total.saturating_sub(self.marked)) / f64::from(self.total)
    }
}

impl<const BUCKETS: usize> Window<BUCKETS> {
    /// An empty window.
    pub(crate) fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    /// Counts events at `now`. One compare-and-swap when nobody else writes.
    pub(crate) fn add(&self, now: Moment, more: Counts) {
        let (index, lap) = Self::place(seconds(now));
        let Some(cell) = self.buckets.get(index) else { return };
        let mut word = cell.load(Relaxed);
        loop {
            let bucket = Bucket::unpack(word);
            let counts = if bucket.lap == lap {
                let Some(sum) = bucket.counts.plus(more) else { return };
                sum
            } else if bucket.is_ahead_of(lap) {
                // The event was counted so late that its second has left the window.
                return;
            } else {
                more
            };
            match cell.compare_exchange_weak(word, Bucket { lap, counts }.pack(), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(changed) => word = changed,
            }
        }
    }

    /// What was counted in the seconds that the window covers at `now`.
    pub(crate) fn totals(&self, now: Moment) -> Counts {
        let now = seconds(now);
        let mut sum = Counts::default();
        for age in 0..BUCKETS as u64 {
            let Some(second) = now.checked_sub(age) else { break };
            let (index, lap) = Self::place(second);
            let Some(cell) = self.buckets.get(index) else { break };
            let bucket = Bucket::unpack(cell.load(Relaxed));
            if bucket.lap == lap {
                sum.total = sum.total.saturating_add(bucket.counts.total);
                sum.marked = sum.marked.saturating_add(bucket.counts.marked);
            }
        }
        sum
    }

    /// Forgets everything. An event that another thread counts at the same time may survive.
    pub(crate) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
    }

    /// A copy, for a test that goes on in two ways.
    #[cfg(test)]
    pub(crate) fn fork(&self) -> Self {
        Self { buckets: self.buckets.each_ref().map(|bucket| AtomicU64::new(bucket.load(Relaxed))) }
    }

    /// The bucket of a second, and its lap.
    fn place(second: u64) -> (usize, u64) {
        let (lap, index) = (second / BUCKETS as u64, second % BUCKETS as u64);
        (index as usize, lap & ((1 << LAP_BITS) - 1))
    }
}

impl Bucket {
    fn unpack(word: u64) -> Self {
        // The masks keep both counts within 32 bits.
        let counts =
            Counts { total: (word & COUNT_MAX) as u32, marked: (word >> COUNT_BITS & COUNT_MAX) as u32 };
        Self { lap: word >> (2 * COUNT_BITS), counts }
    }

    fn pack(self) -> u64 {
        let (total, marked) = (u64::from(self.counts.total), u64::from(self.counts.marked));
        self.lap << (2 * COUNT_BITS) | marked.min(COUNT_MAX) << COUNT_BITS | total.min(COUNT_MAX)
    }

    /// Whether it belongs to a slightly later lap. One that seems much later is old: the laps came round.
    fn is_ahead_of(self, lap: u64) -> bool {
        let ahead = self.lap.wrapping_sub(lap) & ((1 << LAP_BITS) - 1);
        self.counts.total > 0 && ahead < AHEAD
    }
}

impl Counts {
    /// The sum, or `None` when a bucket cannot hold it.
    fn plus(self, more: Self) -> Option<Self> {
        let total = self.total.checked_add(more.total).filter(|total| u64::from(*total) <= COUNT_MAX)?;
        let marked = self.marked.checked_add(more.marked).filter(|marked| u64::from(*marked) <= COUNT_MAX)?;
        Some(Self { total, marked })
    }
}

/// Whole seconds since the start of the clock.
fn seconds(moment: Moment) -> u64 {
    moment.as_nanos() / BUCKET.as_nanos() as u64
}

#[cfg(test)]
mod tests;
