//! `balance`.

use std::fmt;
use std::time::Duration;

use semver::VersionReq;

use super::super::decode::{Decoder, Section, choice, integer, list, number, parsed, text};
use super::super::defaults::{MAX_ENTRIES, TIMEOUTS};
use super::super::fault::quote;
use super::super::yaml::{Data, Node};
use super::section::{Scope, or_none, section, shown_as_text, time};
use crate::name::InstanceName;

/// How calls are spread over the instances of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    /// Each in turn: even counts, whatever the calls cost.
    RoundRobin,
    /// Any, each as likely.
    Random,
    /// Any, as likely as its weight says.
    WeightedRandom,
    /// The one with fewer calls in flight out of two taken at random ("power of two choices", Mitzenmacher
    /// 2001): as even as round-robin when instances are alike, and moves calls away from a slow one without any clock.
    #[default]
    LeastRequest,
    /// The one of two taken at random that is expected to answer sooner, by the moving average of its latency, which
    /// follows peaks at once (Finagle's "peak EWMA").
    PeakEwma,
    /// Always the same one for calls with the same value in a header, as long as it is there.
    ConsistentHash,
}

/// The names of policies; two have a second one that other tools use.
const NAMES: [(&str, Balance); 8] = [
    ("round_robin", Balance::RoundRobin),
    ("random", Balance::Random),
    ("weighted_random", Balance::WeightedRandom),
    ("least_request", Balance::LeastRequest),
    ("peak_ewma", Balance::PeakEwma),
    ("consistent_hash", Balance::ConsistentHash),
    ("least_latency", Balance::PeakEwma),
    ("least_connections", Balance::LeastRequest),
];

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, policy)| policy == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

/// Which instances come first, by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Locality {
    /// All are alike.
    #[default]
    Ignore,
    /// In this process, then on this host, then elsewhere; the next only when none of the nearer ones is healthy.
    Prefer,
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ignore => "ignore",
            Self::Prefer => "prefer",
        })
    }
}

/// Weight and priority of some instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub which: Which,
    /// Their share of the calls, next to that of others. 0: none but those that insist.
    pub weight: u32,
    /// 0 comes first; a higher one takes calls only when no instance before it is healthy.
    pub priority: u32,
}

/// Which instances a [`Member`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one of this name.
    Instance(InstanceName),
    /// Those whose version fits.
    Version(VersionReq),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Instance(name) => write!(f, "{name}")?,
            Which::Version(range) => write!(f, "version {range}")?,
        }
        write!(f, ": weight {}, priority {}", self.weight, self.priority)
    }
}

shown_as_text!(Balance, Locality);

section! {
    /// How calls are spread over the instances of a plugin.
    Balancing, BalancingSaid {
        /// The policy.
        [call] policy: Balance = Balance::default(), |d, node| choice(d, node, &NAMES);
        /// Metadata whose value decides, for `consistent_hash`. Calls without it go anywhere.
        [call] hash_header: Option<String> = None, or_none(header);
        /// How far above the average an instance may be loaded before `consistent_hash` passes it over (Mirrokni et al. 2018).
        [call] hash_balance_factor: f64 = 1.25, |d, node| number(d, node, 1.01..=100.0);
        /// Time in which an answer loses most of its say in `peak_ewma`.
        [plugin] ewma_decay: Duration = Duration::from_secs(10), time(TIMEOUTS);
        /// Time in which a new instance comes up to its full share, from a tenth of it. None: at once.
        [plugin] slow_start: Option<Duration> = None, or_none(time(TIMEOUTS));
        /// Which instances come first, by where they are.
        [plugin] locality: Locality = Locality::default(),
            |d, node| choice(d, node, &[("ignore", Locality::Ignore), ("prefer", Locality::Prefer)]);
        /// Weights and priorities; the first that fits an instance counts. Others have weight 1 and priority 0.
        [plugin] members: Vec<Member> = Vec::new(), |d, node| list(d, node, MAX_ENTRIES, member);
    }
}

/// A section, or just the name of a policy.
pub(super) fn balance(d: &mut Decoder<'_>, node: &Node, scope: Scope) -> Option<BalancingSaid> {
    match node.data {
        Data::Scalar(..) => {
            let policy = choice(d, node, &NAMES)?;
            Some(BalancingSaid { policy: Some(policy), ..BalancingSaid::default() })
        }
        _ => BalancingSaid::read(d, node, scope),
    }
}

/// The name of a header that carries text.
fn header(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    let name = text(d, node)?;
    match http::HeaderName::from_lowercase(name.as_bytes()) {
        Ok(_) if !name.ends_with("-bin") => Some(name.into()),
        _ => d.refuse_with(
            node,
            format_args!("{} is not the name of metadata with text", quote(name)),
            "use lower-case letters, digits and '-', such as x-user-id",
        ),
    }
}

fn member(d: &mut Decoder<'_>, node: &Node) -> Option<Member> {
    let mut section = Section::open(d, node)?;
    let instance = section.optional(d, "instance", parsed).map(Which::Instance);
    let version = section.optional(d, "version", |d, node| {
        let written = text(d, node)?;
        match written.parse() {
            Ok(range) => Some(Which::Version(range)),
            Err(why) => {
                d.refuse(node, format_args!("{} is not a range of SemVer versions: {why}", quote(written)))
            }
        }
    });
    let weight = section.optional(d, "weight", |d, node| integer(d, node, 0..=10_000));
    let priority = section.optional(d, "priority", |d, node| integer(d, node, 0..=100));
    if section.has("instance") == section.has("version") {
        d.fault(section.at(), "a member is named by either instance or version", None);
    }
    section.finish(d);
    Some(Member {
        which: instance.or(version)?,
        weight: weight.unwrap_or(1),
        priority: priority.unwrap_or(0),
    })
}
