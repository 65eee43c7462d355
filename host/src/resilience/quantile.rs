//! The latency that most calls stay below, as lately observed: after that long a hedge is worth its cost.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::{Moment, nanos};
use super::latency::{LatencyHistogram, LatencySnapshot};

/// How often the answer is worked out anew at most.
const REFRESH: Duration = Duration::from_secs(1);

/// The time that it looks back over when there are enough calls in it.
const SPAN: Duration = Duration::from_secs(10);

/// The time that it looks back over when there are few.
const MAX_SPAN: Duration = Duration::from_secs(60);

/// With fewer calls the 95th percentile is no more than the slowest one.
const MIN_SAMPLES: u64 = 20;

/// Snapshots that are kept: one for each refresh of the span, and the one before.
const MAX_SNAPSHOTS: usize = 12;

/// A quantile of a [`LatencyHistogram`] over the last ten seconds, or over up to a minute of a method that is
/// seldom called. Brought up to date by whoever asks, once a second; all others read one atomic.
#[derive(Debug)]
pub(crate) struct ObservedQuantile {
    q: f64,
    /// The answer in nanoseconds; zero when there is none.
    answer: AtomicU64,
    /// When to work it out again.
    refresh_at: AtomicU64,
    history: Mutex<VecDeque<(Moment, LatencySnapshot)>>,
}

impl ObservedQuantile {
    /// The quantile `q`, between zero and one.
    pub(crate) fn new(q: f64) -> Self {
        Self { q, answer: AtomicU64::new(0), refresh_at: AtomicU64::new(0), history: Mutex::default() }
    }

    /// The quantile of what `histogram`, always the same one, was given lately. `None` until it was given
    /// twenty durations since this was first asked.
    pub(crate) fn get(&self, histogram: &LatencyHistogram, now: Moment) -> Option<Duration> {
        if now.as_nanos() >= self.refresh_at.load(Relaxed) {
            self.refresh(histogram, now);
        }
        let answer = self.answer.load(Relaxed);
        (answer > 0).then(|| Duration::from_nanos(answer))
    }

    #[cold]
    fn refresh(&self, histogram: &LatencyHistogram, now: Moment) {
        // Whoever comes while another works it out takes the old answer.
        let Ok(mut history) = self.history.try_lock() else { return };
        if now.as_nanos() < self.refresh_at.load(Relaxed) {
            return;
        }
        self.refresh_at.store((now + REFRESH).as_nanos(), Relaxed);
        let latest = histogram.snapshot();
        forget(&mut history, &latest, now);
        let samples = history.front().map(|(_, oldest)| latest.since(oldest)).unwrap_or_default();
        history.push_back((now, latest));
        let enough = samples.count() >= MIN_SAMPLES;
        let answer = samples.quantile(self.q).filter(|_| enough);
        self.answer.store(answer.map_or(0, |answer| nanos(answer).max(1)), Relaxed);
    }
}

/// Forgets what is older than it needs to be, so that the first one left is where to look back to.
fn forget(history: &mut VecDeque<(Moment, LatencySnapshot)>, latest: &LatencySnapshot, now: Moment) {
    while history.front().is_some_and(|(then, _)| now.since(*then) > MAX_SPAN) {
        history.pop_front();
    }
    let is_enough = |(then, snapshot): &(Moment, LatencySnapshot)| {
        now.since(*then) >= SPAN && latest.since(snapshot).count() >= MIN_SAMPLES
    };
    while history.get(1).is_some_and(is_enough) {
        history.pop_front();
    }
    if history.len() >= MAX_SNAPSHOTS
        && let Some(crowded) = most_crowded(history)
    {
        history.remove(crowded);
    }
}

/// The snapshot that is missed least, so that those of a minute stay evenly spread: the one whose neighbours
/// are closest to each other.
fn most_crowded(history: &VecDeque<(Moment, LatencySnapshot)>) -> Option<usize> {
    let gap = |index: &usize| {
        let (before, after) = (history.get(index - 1), history.get(index + 1));
        before.zip(after).map(|(before, after)| after.0.since(before.0))
    };
    (1..history.len().saturating_sub(1)).min_by_key(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn fill(histogram: &LatencyHistogram, count: u32, millis: u64) {
        (0..count).for_each(|_| histogram.record(Duration::from_millis(millis)));
    }

    #[test]
    fn says_nothing_until_there_are_twenty() {
        let (histogram, p95) = (LatencyHistogram::new(), ObservedQuantile::new(0.95));
        fill(&histogram, 1_000, 50_000);
        assert_eq!(p95.get(&histogram, at(0)), None);
        fill(&histogram, 19, 4);
        assert_eq!(p95.get(&histogram, at(1_000)), None);
        fill(&histogram, 1, 4);
        // Not twice a second.
        assert_eq!(p95.get(&histogram, at(1_999)), None);
        let found = p95.get(&histogram, at(2_000)).unwrap();
        // What was there before it was first asked does not count.
        assert!(found > Duration::from_millis(2) && found <= Duration::from_millis(5), "{found:?}");
    }

    #[test]
    fn follows_a_change_within_the_span() {
        let (histogram, p95) = (LatencyHistogram::new(), ObservedQuantile::new(0.95));
        for second in 0..30 {
            fill(&histogram, 100, 150);
            p95.get(&histogram, at(second * 1_000));
        }
        assert!(p95.get(&histogram, at(30_000)).unwrap() > Duration::from_millis(100));
        for second in 30..42 {
            fill(&histogram, 100, 1);
            p95.get(&histogram, at(second * 1_000));
        }
        assert!(p95.get(&histogram, at(42_000)).unwrap() <= Duration::from_millis(1));
    }

    #[test]
    fn a_seldom_called_method_is_looked_at_for_longer() {
        let (histogram, p95) = (LatencyHistogram::new(), ObservedQuantile::new(0.95));
        let mut answers = Vec::new();
        for n in 0..100 {
            answers.push(p95.get(&histogram, at(n * 2_000)).is_some());
            fill(&histogram, 1, 30);
        }
        // One in two seconds: after forty there are twenty.
        assert!(!answers[19] && answers[20..].iter().all(|answer| *answer), "{answers:?}");
        assert!(p95.history.lock().unwrap().len() <= MAX_SNAPSHOTS);
        // After a silence the old answer is gone.
        assert_eq!(p95.get(&histogram, at(900_000)), None);
    }

    #[test]
    fn many_may_ask_at_once() {
        let (histogram, p95) = (LatencyHistogram::new(), ObservedQuantile::new(0.95));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..20_000u64 {
                        histogram.record(Duration::from_millis(3));
                        let found = p95.get(&histogram, at(n));
                        assert!(found.is_none_or(|found| found <= Duration::from_millis(5)));
                    }
                });
            }
        });
        assert!(p95.get(&histogram, at(30_000)).is_some());
    }
}
