//! What a breaker goes by.

use std::time::Duration;

use crate::resilience::window::Counts;

/// When a breaker opens, and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BreakerSettings {
    /// Opens on failures in a row. `None` switches the rule off.
    pub(crate) consecutive: Option<ConsecutiveRule>,
    /// Opens on too low a success rate. `None` switches the rule off.
    pub(crate) rate: Option<RateRule>,
    /// Probes that must succeed in a row before it closes; zero counts as one.
    pub(crate) success_threshold: u32,
    /// How long it is open at first; each opening without a healthy stretch before it doubles that.
    pub(crate) open_initial: Duration,
    /// How long it is open at most, with jitter.
    pub(crate) open_max: Duration,
    /// Share by which an opening may randomly last longer (linkerd's meaning), so that the breakers of many
    /// hosts do not probe together.
    pub(crate) jitter: f64,
}

/// Opens on that many failures in a row, all within their expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConsecutiveRule {
    /// How many; zero counts as one.
    pub(crate) failure_threshold: u32,
    /// How long a failure counts.
    pub(crate) expiry: Duration,
}

/// Opens when the share of successes falls below a bound. It looks at the ten seconds of a
/// [`Window`](crate::resilience::window::Window), each time something fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RateRule {
    /// The bound; a share equal to it is still good.
    pub(crate) success_rate: f64,
    /// With fewer calls than these the share says nothing.
    pub(crate) min_requests: u32,
}

impl BreakerSettings {
    /// How long a probe may be out before another is given: as long as the window, well above what a call
    /// that shall tell something takes.
    pub(crate) const PROBE_LEASE: Duration = Duration::from_secs(10);

    /// Closed for this long at least before earlier openings are forgotten: only then has the rate rule
    /// seen a whole window.
    pub(crate) const MIN_HEALTHY: Duration = Duration::from_secs(10);

    /// How long it is open after `previous` openings without a healthy stretch; `random` is between zero and
    /// one.
    pub(super) fn open_for(&self, previous: u32, random: f64) -> Duration {
        let pause = self.open_initial.saturating_mul(2u32.saturating_pow(previous)).min(self.open_max);
        let jitter =
            Duration::try_from_secs_f64(pause.as_secs_f64() * self.jitter * random).unwrap_or_default();
        pause.saturating_add(jitter).min(self.open_max)
    }
}

impl Default for BreakerSettings {
    /// linkerd's figures: 7 failures in a row or less than 0.8 of at least 5 calls, over 10 s; open for 1 s,
    /// doubled up to 60 s, up to half longer. Two probes, where linkerd has one: a single lucky call is no proof.
    fn default() -> Self {
        Self {
            consecutive: Some(ConsecutiveRule::default()),
            rate: Some(RateRule::default()),
            success_threshold: 2,
            open_initial: Duration::from_secs(1),
            open_max: Duration::from_secs(60),
            jitter: 0.5,
        }
    }
}

impl Default for ConsecutiveRule {
    fn default() -> Self {
        Self { failure_threshold: 7, expiry: Duration::from_secs(10) }
    }
}

impl Default for RateRule {
    fn default() -> Self {
        Self { success_rate: 0.8, min_requests: 5 }
    }
}

impl RateRule {
    pub(super) fn is_broken_by(&self, counts: Counts) -> bool {
        // A quotient, because 0.8 as a number is the quotient nearest to 4/5, while 0.8 × 5 need not be 4.
        counts.total >= self.min_requests && counts.plain_share() < self.success_rate
    }
}
