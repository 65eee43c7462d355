//! `restart` and `health_check`: what happens when an instance ends by itself, and how the host finds out that one lives and does
//! not answer.

use std::time::Duration;

use super::super::decode::boolean;
use super::super::defaults::{LIMITS, TIMEOUTS};
use super::section::{count, section, time};

section! {
    /// When an instance that ended is started again.
    ///
    /// Five restarts, as systemd grants, but counted over a minute: the pauses between five restarts alone take 3 s,
    /// so that a short period would never be full. 30 s is what a person who watches is willing to wait for a try.
    #[derive(Copy)]
    Restart, RestartSaid {
        /// The first pause; it doubles with each end that follows.
        [plugin] initial_interval: Duration = Duration::from_millis(100), time(TIMEOUTS);
        /// The longest pause.
        [plugin] max_interval: Duration = Duration::from_secs(30), time(TIMEOUTS);
        /// Restarts within `period` that are still no crash loop.
        [plugin] max_restarts: u32 = 5, count(LIMITS);
        /// The time in which they are counted.
        [plugin] period: Duration = Duration::from_secs(60), time(TIMEOUTS);
        /// How long an instance must have been ready to count as sound again.
        [plugin] healthy_after: Duration = Duration::from_secs(10), time(TIMEOUTS);
    }
}

section! {
    /// How an instance is asked whether it still answers.
    ///
    /// Slow to condemn: a server all of whose threads are busy with long calls, as Python's may be, answers no health check
    /// either. It is hung after 15 s and killed after 30 s, when Kubernetes kills what does not answer its probes; calls go
    /// elsewhere long before.
    #[derive(Copy)]
    HealthCheck, HealthCheckSaid {
        /// Whether it is asked at all. What it says by itself, through `Watch`, counts either way.
        [plugin] enabled: bool = true, boolean;
        /// How long an instance may leave calls unanswered before it is asked. One without calls is asked less often.
        [plugin] interval: Duration = Duration::from_millis(500), time(TIMEOUTS);
        /// How long an answer may take. While one is awaited for half a second, calls go elsewhere if they can.
        [plugin] timeout: Duration = Duration::from_secs(5), time(TIMEOUTS);
        /// Checks in a row without an answer after which it counts as hung.
        [plugin] failure_limit: u32 = 3, count(LIMITS);
        /// Answers in a row after which one that was hung takes calls again.
        [plugin] success_limit: u32 = 2, count(LIMITS);
        /// How long a hung child may stay so before it is killed and started again.
        [plugin] kill_after: Duration = Duration::from_secs(15), time(TIMEOUTS);
    }
}
