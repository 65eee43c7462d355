//! `instances`: how many copies run, as a number or as bounds between which it follows the load.

use std::time::Duration;

use super::decode::{Decoder, Section, duration, integer};
use super::defaults::{
    IDLE_TIMEOUT_OF_PLUGIN, INSTANCES, MAX_INSTANCES, MAX_TARGET, SCALE_DOWN_AFTER, SCALE_UP_AFTER,
    TARGET_IN_FLIGHT, TIMEOUTS,
};
use super::yaml::{Data, Node};

/// How many copies of a plugin run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// Always the same number.
    Fixed(InstanceCount),
    /// As many as the load asks for.
    Scaled(Scale),
}

/// Number of copies, 1 to [`MAX_INSTANCES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceCount(u32);

/// How the number of copies follows the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// At least so many. 0: none while nobody calls.
    pub min: u32,
    /// At most so many take calls; at least 1.
    pub max: u32,
    /// Calls in flight on each that are aimed at.
    pub target_in_flight: u32,
    /// How long there must be more of them before another copy starts.
    pub scale_up_after: Duration,
    /// How long there must be fewer of them before a copy stops.
    pub scale_down_after: Duration,
    /// How long nobody may have called before all stop, when [`min`](Self::min) is 0.
    pub idle_timeout: Duration,
    /// Copies that are up beyond those that take calls.
    pub warm: u32,
}

impl InstanceCount {
    /// A count within the range.
    pub fn new(count: u32) -> Option<Self> {
        (1..=MAX_INSTANCES).contains(&count).then_some(Self(count))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for InstanceCount {
    fn default() -> Self {
        Self(INSTANCES)
    }
}

impl Default for Instances {
    fn default() -> Self {
        Self::Fixed(InstanceCount::default())
    }
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            min: 1,
            max: 1,
            target_in_flight: TARGET_IN_FLIGHT,
            scale_up_after: SCALE_UP_AFTER,
            scale_down_after: SCALE_DOWN_AFTER,
            idle_timeout: IDLE_TIMEOUT_OF_PLUGIN,
            warm: 0,
        }
    }
}

impl Instances {
    /// Copies that take calls when the plugin starts: at least one, since what it offers is asked of it.
    pub fn first(self) -> InstanceCount {
        match self {
            Self::Fixed(count) => count,
            Self::Scaled(scale) => InstanceCount(scale.min.clamp(1, MAX_INSTANCES)),
        }
    }

    /// How the number follows the load, when it does.
    pub fn scale(self) -> Option<Scale> {
        match self {
            Self::Fixed(_) => None,
            Self::Scaled(scale) => Some(scale),
        }
    }
}

pub(super) fn instances(d: &mut Decoder<'_>, node: &Node) -> Option<Instances> {
    if !matches!(node.data, Data::Map(_)) {
        let count = integer(d, node, 1..=MAX_INSTANCES).and_then(InstanceCount::new);
        return count.map(Instances::Fixed);
    }
    let time = |d: &mut Decoder<'_>, node: &Node| duration(d, node, &TIMEOUTS);
    let defaults = Scale::default();
    let mut section = Section::open(d, node)?;
    let min = section.optional(d, "min", |d, node| integer(d, node, 0..=MAX_INSTANCES));
    let max = section.optional(d, "max", |d, node| integer(d, node, 1..=MAX_INSTANCES));
    let target = section.optional(d, "target_in_flight", |d, node| integer(d, node, 1..=MAX_TARGET));
    let up = section.optional(d, "scale_up_after", time);
    let down = section.optional(d, "scale_down_after", time);
    let idle = section.optional(d, "idle_timeout", time);
    let warm = section.optional(d, "warm", |d, node| integer(d, node, 0..=MAX_INSTANCES));
    let faulty = (section.has("min") && min.is_none()) || (section.has("max") && max.is_none());
    let idle_at = section.key_position("idle_timeout");
    section.finish(d);
    let min = min.unwrap_or(defaults.min);
    let scale = Scale {
        min,
        max: max.unwrap_or(min.max(defaults.max)),
        target_in_flight: target.unwrap_or(defaults.target_in_flight),
        scale_up_after: up.unwrap_or(defaults.scale_up_after),
        scale_down_after: down.unwrap_or(defaults.scale_down_after),
        idle_timeout: idle.unwrap_or(defaults.idle_timeout),
        warm: warm.unwrap_or(defaults.warm),
    };
    if faulty {
        // Reported already; what follows from it would be noise.
        return None;
    }
    if let Some(at) = idle_at.filter(|_| scale.min > 0 && idle.is_some()) {
        let hint = "with min: 0 all copies stop when nobody calls";
        d.fault(at, "idle_timeout has no effect unless min is 0", Some(hint.into()));
    }
    if scale.min > scale.max {
        return d.refuse(node, format_args!("min is {}, and max only {}", scale.min, scale.max));
    }
    if scale.max + scale.warm > MAX_INSTANCES {
        return d.refuse(node, format_args!("max and warm together are more than {MAX_INSTANCES}"));
    }
    Some(Instances::Scaled(scale))
}
