//! What a subscription wants, and how it is delivered: read from the wire, with everything decided.

use std::time::Duration;

use plugmesh::event::{BadPattern, Pattern, v1};

use super::super::bounds::{Bounds, Overflow};
use super::super::entries::Redelivery;
use super::super::filter::{BadFilter, Filter};
use crate::resilience::backoff::Backoff;

/// Most patterns of a subscription: it is found below each of them.
const MAX_PATTERNS: usize = 64;

/// Longest name of a group: it is in metrics and logs.
const MAX_NAME: usize = 128;

/// What nobody said.
#[derive(Clone, Debug)]
pub(in super::super) struct Defaults {
    pub(in super::super) queue: usize,
    /// What `queue` may be set to at most.
    pub(in super::super) max_queue: usize,
    /// Bytes of events that a subscription holds.
    pub(in super::super) bytes: usize,
    pub(in super::super) redelivery: Redelivery,
    /// The group of those who name none; `None`: they get everything.
    pub(in super::super) group: Option<String>,
}

/// How sure a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Mode {
    AtMostOnce,
    AtLeastOnce,
}

/// Who shares the events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Members {
    /// Each event goes to one member of the group with this name.
    Group(String),
    /// The subscriber gets everything.
    Broadcast,
}

/// What a subscription wants, and how.
#[derive(Clone, Debug)]
pub(in super::super) struct Spec {
    pub(in super::super) patterns: Vec<Pattern>,
    pub(in super::super) filters: Vec<Filter>,
    pub(in super::super) members: Members,
    pub(in super::super) mode: Mode,
    pub(in super::super) overflow: Overflow,
    pub(in super::super) bounds: Bounds,
    pub(in super::super) redelivery: Redelivery,
}

/// What makes two subscriptions the same group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Identity {
    group: String,
    patterns: Vec<Pattern>,
    filters: Vec<Filter>,
    mode: Mode,
}

/// Why a subscription is none.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum BadSubscription {
    #[error("a subscription has 1 to {MAX_PATTERNS} patterns, this one has {0}")]
    Patterns(usize),
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error(transparent)]
    Filter(#[from] BadFilter),
    #[error("the name of a group has 1 to {MAX_NAME} printable characters without spaces")]
    Group,
    #[error("{0} is not a value of `{1}`")]
    Unknown(i32, &'static str),
    #[error("a queue holds at most {most} events, not {wanted}")]
    Queue { wanted: usize, most: usize },
    #[error("`{0}` is not a duration of 1 ms to 1 day")]
    Duration(&'static str),
    #[error(
        "this host keeps no journal, so there are no durable names and nothing can be spilled; configure `events.journal`"
    )]
    NoJournal,
}

impl Spec {
    /// Reads what somebody asks for.
    pub(in super::super) fn read(
        what: &v1::Subscription,
        defaults: &Defaults,
    ) -> Result<Self, BadSubscription> {
        if !(1..=MAX_PATTERNS).contains(&what.patterns.len()) {
            return Err(BadSubscription::Patterns(what.patterns.len()));
        }
        let mut patterns: Vec<Pattern> =
            what.patterns.iter().map(|pattern| pattern.parse()).collect::<Result<_, _>>()?;
        patterns.sort_unstable();
        patterns.dedup();
        if !what.durable_name.is_empty() || what.start.is_some() {
            return Err(BadSubscription::NoJournal);
        }
        let mode = match v1::Mode::try_from(what.mode) {
            Ok(v1::Mode::Unspecified | v1::Mode::AtMostOnce) => Mode::AtMostOnce,
            Ok(v1::Mode::AtLeastOnce) => Mode::AtLeastOnce,
            Err(_) => return Err(BadSubscription::Unknown(what.mode, "mode")),
        };
        let overflow = match v1::Overflow::try_from(what.overflow) {
            Ok(v1::Overflow::Unspecified | v1::Overflow::Block) => Overflow::Block,
            Ok(v1::Overflow::DropOldest) => Overflow::DropOldest,
            Ok(v1::Overflow::DropNewest) => Overflow::DropNewest,
            Ok(v1::Overflow::Spill) => return Err(BadSubscription::NoJournal),
            Err(_) => return Err(BadSubscription::Unknown(what.overflow, "overflow")),
        };
        let events = match what.queue as usize {
            0 => defaults.queue,
            wanted if wanted > defaults.max_queue => {
                return Err(BadSubscription::Queue { wanted, most: defaults.max_queue });
            }
            wanted => wanted,
        };
        Ok(Self {
            patterns,
            filters: Filter::read(&what.filters)?,
            members: members(what.members.as_ref(), defaults)?,
            mode,
            overflow,
            bounds: Bounds { events, bytes: defaults.bytes },
            redelivery: redelivery(what.redelivery.as_ref(), &defaults.redelivery)?,
        })
    }

    /// Its name for people: that of the group, or of who subscribed.
    pub(in super::super) fn group_name(&self, who: &str) -> String {
        match &self.members {
            Members::Group(group) => group.clone(),
            Members::Broadcast => who.to_owned(),
        }
    }

    /// What makes it one with others. `None`: it is alone.
    pub(in super::super) fn identity(&self) -> Option<Identity> {
        let Members::Group(group) = &self.members else { return None };
        Some(Identity {
            group: group.clone(),
            patterns: self.patterns.clone(),
            filters: self.filters.clone(),
            mode: self.mode,
        })
    }

    /// As it is said on the wire, with nothing left open.
    pub(in super::super) fn to_wire(&self) -> v1::Subscription {
        let duration = |duration: Duration| prost_types::Duration::try_from(duration).ok();
        v1::Subscription {
            patterns: self.patterns.iter().map(ToString::to_string).collect(),
            filters: self.filters.iter().map(Filter::to_wire).collect(),
            members: Some(match &self.members {
                Members::Group(group) => v1::subscription::Members::Group(group.clone()),
                Members::Broadcast => v1::subscription::Members::Broadcast(true),
            }),
            durable_name: String::new(),
            start: None,
            mode: match self.mode {
                Mode::AtMostOnce => v1::Mode::AtMostOnce,
                Mode::AtLeastOnce => v1::Mode::AtLeastOnce,
            } as i32,
            overflow: self.overflow.to_wire() as i32,
            queue: self.bounds.events as u32,
            redelivery: (self.mode == Mode::AtLeastOnce).then(|| v1::Redelivery {
                ack_deadline: duration(self.redelivery.ack_deadline),
                max_attempts: self.redelivery.max_attempts,
                initial_interval: duration(self.redelivery.backoff.initial),
                max_interval: duration(self.redelivery.backoff.max),
                on_nack: match self.redelivery.blocks_key {
                    true => v1::OnNack::Block,
                    false => v1::OnNack::Skip,
                } as i32,
            }),
        }
    }
}

fn members(
    said: Option<&v1::subscription::Members>,
    defaults: &Defaults,
) -> Result<Members, BadSubscription> {
    match (said, &defaults.group) {
        (Some(v1::subscription::Members::Group(name)), _) => {
            let is_sound =
                (1..=MAX_NAME).contains(&name.len()) && name.chars().all(|c| !c.is_control() && c != ' ');
            is_sound.then(|| Members::Group(name.clone())).ok_or(BadSubscription::Group)
        }
        (Some(v1::subscription::Members::Broadcast(true)), _) => Ok(Members::Broadcast),
        (_, Some(group)) => Ok(Members::Group(group.clone())),
        (_, None) => Ok(Members::Broadcast),
    }
}

fn redelivery(said: Option<&v1::Redelivery>, defaults: &Redelivery) -> Result<Redelivery, BadSubscription> {
    let Some(said) = said else { return Ok(defaults.clone()) };
    Ok(Redelivery {
        ack_deadline: duration(said.ack_deadline.as_ref(), defaults.ack_deadline, "ack_deadline")?,
        max_attempts: match said.max_attempts {
            0 => defaults.max_attempts,
            attempts => attempts,
        },
        backoff: Backoff {
            initial: duration(said.initial_interval.as_ref(), defaults.backoff.initial, "initial_interval")?,
            max: duration(said.max_interval.as_ref(), defaults.backoff.max, "max_interval")?,
            ..defaults.backoff
        },
        blocks_key: match v1::OnNack::try_from(said.on_nack) {
            Ok(v1::OnNack::Unspecified) => defaults.blocks_key,
            Ok(v1::OnNack::Block) => true,
            Ok(v1::OnNack::Skip) => false,
            Err(_) => return Err(BadSubscription::Unknown(said.on_nack, "on_nack")),
        },
    })
}

fn duration(
    said: Option<&prost_types::Duration>,
    default: Duration,
    what: &'static str,
) -> Result<Duration, BadSubscription> {
    const BOUNDS: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
    match said {
        None => Ok(default),
        Some(said) => Duration::try_from(*said)
            .ok()
            .filter(|duration| BOUNDS.contains(duration))
            .ok_or(BadSubscription::Duration(what)),
    }
}
