//! `health_check`: how the host finds out that an instance is alive and does not answer.

use std::time::Duration;

use super::decode::{Decoder, Section, boolean, duration, integer};
use super::defaults::{LIMITS, TIMEOUTS};
use super::yaml::Node;

/// How an instance is asked whether it still answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Whether it is asked at all. What it says by itself, through `Watch`, counts either way.
    pub enabled: bool,
    /// How long an instance may leave calls unanswered before it is asked. One without calls is asked less often.
    pub interval: Duration,
    /// How long an answer may take. While one is awaited for half a second, calls go elsewhere if they can.
    pub timeout: Duration,
    /// Checks in a row without an answer after which it counts as hung.
    pub failure_limit: u32,
    /// Answers in a row after which one that was hung takes calls again.
    pub success_limit: u32,
    /// How long a hung child may stay so before it is killed and started again.
    pub kill_after: Duration,
}

/// What a file says of it. None: not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthCheckOptions {
    /// See [`HealthCheck::enabled`].
    pub enabled: Option<bool>,
    /// See [`HealthCheck::interval`].
    pub interval: Option<Duration>,
    /// See [`HealthCheck::timeout`].
    pub timeout: Option<Duration>,
    /// See [`HealthCheck::failure_limit`].
    pub failure_limit: Option<u32>,
    /// See [`HealthCheck::success_limit`].
    pub success_limit: Option<u32>,
    /// See [`HealthCheck::kill_after`].
    pub kill_after: Option<Duration>,
}

/// Slow to condemn: a server all of whose threads are busy with long calls, as Python's may be, answers no health check
/// either. It is hung after 15 s and killed after 30 s, when Kubernetes kills what does not answer its probes; calls go
/// elsewhere long before.
impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(5),
            failure_limit: 3,
            success_limit: 2,
            kill_after: Duration::from_secs(15),
        }
    }
}

impl HealthCheckOptions {
    /// These options with `over` on top.
    #[must_use]
    pub fn overridden(self, over: &Self) -> Self {
        Self {
            enabled: over.enabled.or(self.enabled),
            interval: over.interval.or(self.interval),
            timeout: over.timeout.or(self.timeout),
            failure_limit: over.failure_limit.or(self.failure_limit),
            success_limit: over.success_limit.or(self.success_limit),
            kill_after: over.kill_after.or(self.kill_after),
        }
    }

    /// With what `base` says where these options say nothing.
    pub fn over(self, base: HealthCheck) -> HealthCheck {
        HealthCheck {
            enabled: self.enabled.unwrap_or(base.enabled),
            interval: self.interval.unwrap_or(base.interval),
            timeout: self.timeout.unwrap_or(base.timeout),
            failure_limit: self.failure_limit.unwrap_or(base.failure_limit),
            success_limit: self.success_limit.unwrap_or(base.success_limit),
            kill_after: self.kill_after.unwrap_or(base.kill_after),
        }
    }
}

pub(super) fn health_check(d: &mut Decoder<'_>, node: &Node) -> Option<HealthCheckOptions> {
    let timeout = |d: &mut Decoder<'_>, node: &Node| duration(d, node, &TIMEOUTS);
    let limit = |d: &mut Decoder<'_>, node: &Node| integer(d, node, LIMITS);
    let mut section = Section::open(d, node)?;
    let options = HealthCheckOptions {
        enabled: section.optional(d, "enabled", boolean),
        interval: section.optional(d, "interval", timeout),
        timeout: section.optional(d, "timeout", timeout),
        failure_limit: section.optional(d, "failure_limit", limit),
        success_limit: section.optional(d, "success_limit", limit),
        kill_after: section.optional(d, "kill_after", timeout),
    };
    section.finish(d);
    Some(options)
}
