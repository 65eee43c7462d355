//! `restart`: what happens when an instance ends by itself.

use std::time::Duration;

use super::decode::{Decoder, Section, duration, integer};
use super::defaults::{LIMITS, TIMEOUTS};
use super::yaml::Node;

/// When an instance that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The first pause; it doubles with each end that follows.
    pub initial_interval: Duration,
    /// The longest pause.
    pub max_interval: Duration,
    /// Restarts within [`period`](Self::period) that are still no crash loop.
    pub max_restarts: u32,
    /// The time in which they are counted.
    pub period: Duration,
    /// How long an instance must have been ready to count as sound again.
    pub healthy_after: Duration,
}

/// What a file says of it. None: not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestartOptions {
    /// See [`Restart::initial_interval`].
    pub initial_interval: Option<Duration>,
    /// See [`Restart::max_interval`].
    pub max_interval: Option<Duration>,
    /// See [`Restart::max_restarts`].
    pub max_restarts: Option<u32>,
    /// See [`Restart::period`].
    pub period: Option<Duration>,
    /// See [`Restart::healthy_after`].
    pub healthy_after: Option<Duration>,
}

/// Five restarts, as systemd grants, but counted over a minute: the pauses between five restarts alone take 3 s,
/// so that a short period would never be full. 30 s is what a person who watches is willing to wait for a try.
impl Default for Restart {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_millis(100),
            max_interval: Duration::from_secs(30),
            max_restarts: 5,
            period: Duration::from_secs(60),
            healthy_after: Duration::from_secs(10),
        }
    }
}

impl RestartOptions {
    /// These options with `over` on top.
    #[must_use]
    pub fn overridden(self, over: &Self) -> Self {
        Self {
            initial_interval: over.initial_interval.or(self.initial_interval),
            max_interval: over.max_interval.or(self.max_interval),
            max_restarts: over.max_restarts.or(self.max_restarts),
            period: over.period.or(self.period),
            healthy_after: over.healthy_after.or(self.healthy_after),
        }
    }

    /// With what `base` says where these options say nothing.
    pub fn over(self, base: Restart) -> Restart {
        Restart {
            initial_interval: self.initial_interval.unwrap_or(base.initial_interval),
            max_interval: self.max_interval.unwrap_or(base.max_interval),
            max_restarts: self.max_restarts.unwrap_or(base.max_restarts),
            period: self.period.unwrap_or(base.period),
            healthy_after: self.healthy_after.unwrap_or(base.healthy_after),
        }
    }
}

pub(super) fn restart(d: &mut Decoder<'_>, node: &Node) -> Option<RestartOptions> {
    let interval = |d: &mut Decoder<'_>, node: &Node| duration(d, node, &TIMEOUTS);
    let mut section = Section::open(d, node)?;
    let options = RestartOptions {
        initial_interval: section.optional(d, "initial_interval", interval),
        max_interval: section.optional(d, "max_interval", interval),
        max_restarts: section.optional(d, "max_restarts", |d, node| integer(d, node, LIMITS)),
        period: section.optional(d, "period", interval),
        healthy_after: section.optional(d, "healthy_after", interval),
    };
    section.finish(d);
    Some(options)
}
