//! What is counted of the calls to one method.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::Code;

use crate::resilience::by_code::LatencyByCode;
use crate::resilience::clock::Moment;
use crate::resilience::latency::LatencyHistogram;
use crate::resilience::quantile::ObservedQuantile;

/// What is counted of the calls to one method, from the host's start on.
#[derive(Debug)]
pub(crate) struct MethodStats {
    by_code: LatencyByCode,
    p95: ObservedQuantile,
    events: [AtomicU64; EVENTS],
}

/// What happens to calls beside their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An attempt after the first, because that failed.
    Retry,
    /// An attempt after the first, which nobody had looked at.
    TransparentRetry,
    /// An attempt beside one that waited.
    Hedge,
    /// There would have been another attempt, but the budget was used up.
    OverBudget,
    /// Refused by the rate limit.
    RateLimited,
    /// Refused because too many calls were in flight.
    Shed,
    /// Answered by the fallback.
    Fallback,
    /// Answered from the cache.
    CacheHit,
    /// Would have been answered from the cache, but it had nothing.
    CacheMiss,
}

/// How many kinds of [`Event`] there are.
const EVENTS: usize = Event::CacheMiss as usize + 1;

impl MethodStats {
    pub(super) fn new() -> Self {
        Self { by_code: Default::default(), p95: ObservedQuantile::new(0.95), events: Default::default() }
    }

    /// A call has ended.
    pub(crate) fn record(&self, code: Code, took: Duration) {
        self.by_code.record(code, took);
    }

    pub(super) fn count(&self, event: Event) {
        if let Some(count) = self.events.get(event as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often something happened.
    pub(crate) fn events(&self, event: Event) -> u64 {
        self.events.get(event as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Calls by the status they ended with; those that never occurred are left out.
    pub(crate) fn by_code(&self) -> impl Iterator<Item = (Code, &LatencyHistogram)> {
        self.by_code.iter()
    }

    /// What 95 of 100 good calls took at most, of late; `None` while there are too few.
    pub(crate) fn p95(&self, now: Moment) -> Option<Duration> {
        self.p95.get(self.by_code.of(Code::Ok)?, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_what_is_slower_than_most_good_calls_of_late() {
        let stats = MethodStats::new();
        let at = |seconds| Moment::default() + Duration::from_secs(seconds);
        assert_eq!(stats.p95(at(1)), None, "nobody has called yet");
        stats.record(Code::Ok, Duration::from_millis(1));
        assert_eq!(stats.p95(at(2)), None);
        for _ in 0..100 {
            stats.record(Code::Ok, Duration::from_millis(8));
            stats.record(Code::Internal, Duration::from_secs(8));
        }
        let p95 = stats.p95(at(4)).unwrap();
        assert!(p95 > Duration::from_millis(4) && p95 < Duration::from_millis(20), "{p95:?}");
        let by_code: Vec<_> =
            stats.by_code().map(|(code, latency)| (code, latency.snapshot().count())).collect();
        assert_eq!(by_code, [(Code::Ok, 101), (Code::Internal, 100)]);
    }
}
