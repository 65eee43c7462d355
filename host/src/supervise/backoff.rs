//! When an instance that ended is started again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Restart;
use crate::resilience::backoff::Backoff as Pauses;

/// Share by which a pause may be longer or shorter, so that instances that fail together do not start
/// together for ever (gRPC's connection back-off uses the same).
const JITTER: f64 = 0.2;

/// What to do after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retry {
    /// How long to wait.
    pub(super) pause: Duration,
    /// Whether it ends so often that it is in a crash loop.
    pub(super) crash_loop: bool,
}

/// An exponential pause, and a budget of restarts. Beyond the budget the longest pause is taken, until an
/// instance was sound for a while: it heals by itself, and costs little as long as it does not.
#[derive(Debug)]
pub(super) struct Backoff {
    config: Restart,
    failures: u32,
    /// Ends within the period, oldest first; at most one more than the budget.
    ends: VecDeque<Instant>,
    crash_loop: bool,
}

impl Backoff {
    pub(super) fn new(config: Restart) -> Self {
        Self { config, failures: 0, ends: VecDeque::new(), crash_loop: false }
    }

    /// What to do after one more end. `ready_for` is how long the instance had been ready.
    pub(super) fn next(&mut self, now: Instant, ready_for: Duration) -> Retry {
        let Restart { initial_interval, max_interval, max_restarts, period, healthy_after } = self.config;
        if ready_for >= healthy_after {
            self.failures = 0;
            if std::mem::take(&mut self.crash_loop) {
                self.ends.clear();
            }
        }
        self.ends.push_back(now);
        while self.ends.front().is_some_and(|end| now.duration_since(*end) > period)
            || self.ends.len() > max_restarts as usize + 1
        {
            self.ends.pop_front();
        }
        self.crash_loop |= self.ends.len() > max_restarts as usize;
        self.failures = self.failures.saturating_add(1);
        let max = max_interval.max(initial_interval);
        let initial = if self.crash_loop { max } else { initial_interval };
        let pauses = Pauses { initial, max, multiplier: 2.0, jitter: JITTER };
        Retry { pause: pauses.delay(self.failures), crash_loop: self.crash_loop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends that follow each other after `lives` and their pauses.
    fn ends(
        backoff: &mut Backoff,
        now: &mut Instant,
        lives: impl IntoIterator<Item = Duration>,
    ) -> Vec<Retry> {
        let each = lives.into_iter().map(|life| {
            *now += life;
            let retry = backoff.next(*now, life);
            *now += retry.pause;
            retry
        });
        each.collect()
    }

    fn assert_about(pause: Duration, middle: Duration) {
        assert!(pause >= middle.mul_f64(0.8) && pause <= middle.mul_f64(1.2), "{pause:?} is not {middle:?}");
    }

    #[test]
    fn pauses_grow_until_the_budget_is_spent_and_are_longest_then() {
        let (config, mut now) = (Restart::default(), Instant::now());
        let mut backoff = Backoff::new(config);
        let retries = ends(&mut backoff, &mut now, [Duration::ZERO; 40]);
        for (n, retry) in retries.iter().enumerate() {
            let in_budget = n < config.max_restarts as usize;
            let middle = config.initial_interval * 2u32.pow((n as u32).min(5));
            assert_about(retry.pause, if in_budget { middle } else { config.max_interval });
            assert_eq!(retry.crash_loop, !in_budget, "{n}");
        }
    }

    #[test]
    fn a_crash_loop_is_over_after_a_healthy_stretch() {
        let (config, mut now) = (Restart::default(), Instant::now());
        let mut backoff = Backoff::new(config);
        ends(&mut backoff, &mut now, [Duration::ZERO; 10]);
        let almost = config.healthy_after - Duration::from_millis(1);
        assert!(ends(&mut backoff, &mut now, [almost])[0].crash_loop);
        let healed = ends(&mut backoff, &mut now, [config.healthy_after])[0];
        assert!(!healed.crash_loop);
        assert_about(healed.pause, config.initial_interval);
        let again = ends(&mut backoff, &mut now, [Duration::ZERO; 5]);
        assert_eq!(again.iter().filter(|retry| retry.crash_loop).count(), 1, "a whole budget again");
    }

    #[test]
    fn ends_that_are_far_apart_are_no_crash_loop() {
        let (config, mut now) = (Restart::default(), Instant::now());
        let mut backoff = Backoff::new(config);
        let lives = [config.period / config.max_restarts; 50];
        assert!(ends(&mut backoff, &mut now, lives).iter().all(|retry| !retry.crash_loop));
    }

    #[test]
    fn without_a_budget_worth_the_name_pauses_are_exponential_to_a_bound() {
        let config = Restart { max_restarts: 1000, ..Restart::default() };
        let (mut backoff, mut now) = (Backoff::new(config), Instant::now());
        for (n, retry) in ends(&mut backoff, &mut now, [Duration::ZERO; 40]).iter().enumerate() {
            let middle = config.initial_interval.saturating_mul(2u32.saturating_pow(n as u32));
            assert_about(retry.pause, middle.min(config.max_interval));
        }
    }
}
