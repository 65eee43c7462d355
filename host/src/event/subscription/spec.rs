//! What a subscription wants, and how it is delivered: read from the wire, with everything decided.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plugmesh::cloudevents::EventRef;
use plugmesh::event::{BadPattern, Pattern, v1};
use plugmesh::time;
use tonic::Code;

use super::super::bounds::{Bounds, Overflow};
use super::super::entries::Redelivery;
use super::super::filter::{BadFilter, Filter};
use super::super::progress::Start;
use crate::resilience::backoff::Backoff;

/// Most patterns of a subscription: it is found below each of them.
const MAX_PATTERNS: usize = 64;

/// Longest name of a group: it is in metrics and logs.
const MAX_NAME: usize = 128;

/// The longest deadline, and the longest pause before an event comes again.
pub(in super::super) const MAX_SPAN: Duration = Duration::from_secs(24 * 3600);

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
    /// Topics that the journal keeps; `None`: there is no journal.
    pub(in super::super) durable: Option<Arc<[Pattern]>>,
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
    /// As with a group, and the place in the journal is kept under this name.
    Durable(String),
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
    /// Where it begins, if it gets its events from the journal.
    pub(in super::super) start: Option<Start>,
}

/// What makes two subscriptions the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Identity {
    Durable(String),
    Group { group: String, patterns: Vec<Pattern>, filters: Vec<Filter>, mode: Mode },
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
    #[error(
        "the name of a group, or a durable name, has 1 to {MAX_NAME} printable characters without spaces"
    )]
    Name,
    #[error("a durable name is the name of its group as well: leave out `group` and `broadcast`")]
    DurableMembers,
    #[error("what has a durable name is delivered at least once: leave out `mode`, or the name")]
    DurableMode,
    #[error("what has a durable name does not drop events: leave out `overflow`, or use SPILL or BLOCK")]
    DurableOverflow,
    #[error(
        "only what gets its events from the journal has a start: use a durable name, or SPILL as `overflow`"
    )]
    Start,
    #[error("`start.time` is not a time")]
    StartTime,
    #[error(
        "the journal does not keep all topics of {0:?}: subscribe to topics that are within one of {1}, or add some to `events.journal.topics`, or `events.nats.topics`"
    )]
    NotKept(String, String),
    #[error("{0} is not a value of `{1}`")]
    Unknown(i32, &'static str),
    #[error("a queue holds at most {most} events, not {wanted}")]
    Queue { wanted: usize, most: usize },
    #[error("`{0}` is not a duration of 1 ms to 1 day")]
    Duration(&'static str),
    #[error(
        "this host keeps no journal, so there are no durable names and nothing can be spilled: configure `events.journal`"
    )]
    NoJournal,
}

impl BadSubscription {
    /// What it is on the wire.
    pub(in super::super) fn code(&self) -> Code {
        match self {
            Self::NoJournal | Self::NotKept(..) => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        }
    }
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
        let members = members(what, defaults)?;
        let is_durable = matches!(members, Members::Durable(_));
        let mode = match (v1::Mode::try_from(what.mode), is_durable) {
            (Ok(v1::Mode::Unspecified), true) | (Ok(v1::Mode::AtLeastOnce), _) => Mode::AtLeastOnce,
            (Ok(v1::Mode::AtMostOnce), true) => return Err(BadSubscription::DurableMode),
            (Ok(v1::Mode::Unspecified | v1::Mode::AtMostOnce), false) => Mode::AtMostOnce,
            (Err(_), _) => return Err(BadSubscription::Unknown(what.mode, "mode")),
        };
        let overflow = match (v1::Overflow::try_from(what.overflow), is_durable) {
            (Ok(v1::Overflow::Unspecified), true) | (Ok(v1::Overflow::Spill), _) => Overflow::Spill,
            (Ok(v1::Overflow::Unspecified), false) | (Ok(v1::Overflow::Block), _) => Overflow::Block,
            (Ok(_), true) => return Err(BadSubscription::DurableOverflow),
            (Ok(v1::Overflow::DropOldest), false) => Overflow::DropOldest,
            (Ok(v1::Overflow::DropNewest), false) => Overflow::DropNewest,
            (Err(_), _) => return Err(BadSubscription::Unknown(what.overflow, "overflow")),
        };
        let start = match is_durable || overflow == Overflow::Spill {
            true => {
                must_be_kept(&patterns, defaults.durable.as_deref())?;
                Some(start(what.start.as_ref())?)
            }
            false if what.start.is_some() => return Err(BadSubscription::Start),
            false => None,
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
            members,
            mode,
            overflow,
            bounds: Bounds { events, bytes: defaults.bytes },
            redelivery: redelivery(what.redelivery.as_ref(), &defaults.redelivery)?,
            start,
        })
    }

    /// Its name for people: that of the group, or of who subscribed.
    pub(in super::super) fn group_name(&self, who: &str) -> String {
        match &self.members {
            Members::Group(name) | Members::Durable(name) => name.clone(),
            Members::Broadcast => who.to_owned(),
        }
    }

    /// What makes it one with others. `None`: it is alone.
    pub(in super::super) fn identity(&self) -> Option<Identity> {
        match &self.members {
            Members::Broadcast => None,
            Members::Durable(name) => Some(Identity::Durable(name.clone())),
            Members::Group(group) => Some(Identity::Group {
                group: group.clone(),
                patterns: self.patterns.clone(),
                filters: self.filters.clone(),
                mode: self.mode,
            }),
        }
    }

    /// Whether it gets all events as they come, at most once, and from nowhere else.
    pub(in super::super) fn takes_runs(&self) -> bool {
        self.members == Members::Broadcast && self.mode == Mode::AtMostOnce && self.start.is_none()
    }

    /// Its durable name.
    pub(in super::super) fn durable_name(&self) -> Option<&str> {
        match &self.members {
            Members::Durable(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it wants an event of one of its topics.
    pub(in super::super) fn admits(&self, event: EventRef<'_>) -> bool {
        self.filters.iter().all(|filter| filter.admits(event))
    }

    /// Whether it wants an event.
    pub(in super::super) fn wants(&self, event: EventRef<'_>) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(event.event_type())) && self.admits(event)
    }

    /// Whether it wants the same events as another.
    pub(in super::super) fn wants_the_same(&self, other: &Self) -> bool {
        self.patterns == other.patterns && self.filters == other.filters
    }

    /// As it is said on the wire, with nothing left open.
    pub(in super::super) fn to_wire(&self) -> v1::Subscription {
        let duration = |duration: Duration| prost_types::Duration::try_from(duration).ok();
        v1::Subscription {
            patterns: self.patterns.iter().map(ToString::to_string).collect(),
            filters: self.filters.iter().map(Filter::to_wire).collect(),
            members: match &self.members {
                Members::Group(group) => Some(v1::subscription::Members::Group(group.clone())),
                Members::Broadcast => Some(v1::subscription::Members::Broadcast(true)),
                Members::Durable(_) => None,
            },
            durable_name: self.durable_name().unwrap_or_default().to_owned(),
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

/// Every topic of the patterns is one that the journal keeps.
fn must_be_kept(patterns: &[Pattern], durable: Option<&[Pattern]>) -> Result<(), BadSubscription> {
    let durable = durable.ok_or(BadSubscription::NoJournal)?;
    let other = patterns.iter().find(|wanted| !durable.iter().any(|kept| kept.covers(wanted)));
    other.map_or(Ok(()), |other| {
        let kept: Vec<_> = durable.iter().map(Pattern::as_str).collect();
        Err(BadSubscription::NotKept(other.to_string(), kept.join(", ")))
    })
}

/// Where something begins that gets its events from the journal.
pub(in super::super) fn start(said: Option<&v1::Start>) -> Result<Start, BadSubscription> {
    use v1::start::At;
    Ok(match said.and_then(|start| start.at.as_ref()) {
        None | Some(At::End(_) | At::Beginning(false)) => Start::End,
        Some(At::Beginning(true)) => Start::Beginning,
        Some(At::Time(time)) => {
            Start::Time(SystemTime::try_from(*time).map_err(|_| BadSubscription::StartTime)?)
        }
        Some(At::AfterPlace(place)) => Start::AfterPlace(*place),
        Some(At::AfterId(id)) => Start::AfterId(id.clone()),
    })
}

/// Whether a group or a durable name can be called that.
pub(in super::super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(|c| !c.is_control() && c != ' ')
}

fn members(what: &v1::Subscription, defaults: &Defaults) -> Result<Members, BadSubscription> {
    let name = |name: &str| is_name(name).then(|| name.to_owned()).ok_or(BadSubscription::Name);
    if !what.durable_name.is_empty() {
        return match what.members {
            None => name(&what.durable_name).map(Members::Durable),
            Some(_) => Err(BadSubscription::DurableMembers),
        };
    }
    match (&what.members, &defaults.group) {
        (Some(v1::subscription::Members::Group(group)), _) => name(group).map(Members::Group),
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
    let bounds = Duration::from_millis(1)..=MAX_SPAN;
    match said {
        None => Ok(default),
        Some(said) => time::duration(*said)
            .filter(|duration| bounds.contains(duration))
            .ok_or(BadSubscription::Duration(what)),
    }
}
