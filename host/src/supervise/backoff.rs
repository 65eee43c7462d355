//! How long to wait before an instance is started again.

use std::time::Duration;

use crate::resilience::backoff::Backoff as Pauses;

/// Ready for this long, an instance counts as sound again.
const HEALTHY: Duration = Duration::from_secs(10);

/// 100 ms doubled up to 30 s, give or take a fifth.
const PAUSES: Pauses = Pauses {
    initial: Duration::from_millis(100),
    // What a person who watches is willing to wait for the next try.
    max: Duration::from_secs(30),
    multiplier: 2.0,
    // Instances that fail together do not start together for ever (gRPC's connection back-off uses the same).
    jitter: 0.2,
};

/// An exponential pause that knows how often the instance has failed.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure. `ready_for` is how long the instance had been ready.
    pub(super) fn next(&mut self, ready_for: Duration) -> Duration {
        if ready_for >= HEALTHY {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        PAUSES.delay(self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_bound_and_forgets_after_a_healthy_stretch() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.next(Duration::ZERO)).collect();
        for (n, pause) in pauses.iter().enumerate() {
            let middle = PAUSES.initial.saturating_mul(2u32.saturating_pow(n as u32)).min(PAUSES.max);
            assert!(*pause >= middle.mul_f64(0.8) && *pause <= middle.mul_f64(1.2), "{n}: {pause:?}");
        }
        assert!(backoff.next(HEALTHY) <= PAUSES.initial.mul_f64(1.2));
    }
}
