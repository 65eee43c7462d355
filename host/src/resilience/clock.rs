//! Time as one number, so that it fits into an atomic.

use std::ops::Add;
use std::time::Duration;

use tokio::time::Instant;

/// Gives the present as a [`Moment`]. Moments of different clocks cannot be compared.
///
/// It follows tokio's time, so tests under paused time drive it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

/// Nanoseconds since the start of the clock that gave it: enough for 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(u64);

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present.
    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// `instant` on this clock; what was before its start counts as the start.
    pub(crate) fn moment(&self, instant: Instant) -> Moment {
        Moment(nanos(instant.saturating_duration_since(self.start)))
    }

    /// `moment` on tokio's clock, to sleep until then. `None` when the operating system cannot represent it.
    pub(crate) fn instant(&self, moment: Moment) -> Option<Instant> {
        self.start.checked_add(Duration::from_nanos(moment.0))
    }
}

impl Moment {
    /// The end of all time: never reached.
    pub(crate) const MAX: Self = Self(u64::MAX);

    /// The moment that many nanoseconds after the start of the clock.
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the clock.
    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is before. Threads that took the time and were
    /// delayed see such moments.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// A duration as one number; the largest there is when it is longer than 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_paused_time() {
        let clock = Clock::start();
        let before = clock.now();
        tokio::time::advance(Duration::from_millis(1_500)).await;
        let after = clock.now();
        assert_eq!(after.since(before), Duration::from_millis(1_500));
        assert_eq!(before.since(after), Duration::ZERO);
        assert_eq!(clock.moment(clock.instant(after).unwrap()), after);
    }

    #[test]
    fn never_overflows() {
        assert_eq!(Moment::MAX + Duration::MAX, Moment::MAX);
        assert_eq!(Moment::from_nanos(5) + Duration::from_nanos(7), Moment::from_nanos(12));
        let clock = Clock::start();
        assert_eq!(clock.moment(clock.start.checked_sub(Duration::from_secs(1)).unwrap_or(clock.start)).0, 0);
    }
}
