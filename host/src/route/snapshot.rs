//! The endpoints of a plugin as calls see them: never changed, only replaced.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::{Availability, Endpoint};
use crate::config::{Balance, Balancing, Locality, Member, Panic, Policies, Policy, Which};
use crate::resilience::alias::AliasTable;
use crate::resilience::clock::Moment;
use crate::resilience::hash_ring::HashRing;
use crate::transport::Lane;

/// Share of its calls that an endpoint which comes up takes at first (Envoy's minimum).
const FIRST_SHARE: f64 = 0.1;

/// What a snapshot is made by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    members: Vec<Member>,
    locality: Locality,
    slow_start: Option<Duration>,
    panic_threshold: f64,
    panic: Panic,
    needs_ring: bool,
}

impl Rules {
    pub(super) fn new(policy: &Policy, policies: &Policies) -> Self {
        let Balancing { members, locality, slow_start, .. } = &policy.balance;
        let by_hash = |policy: &Policy| policy.balance.policy == Balance::ConsistentHash;
        let needs_ring = by_hash(policy)
            || policies.targets().any(|to| by_hash(&policies.of(&to.service, to.method.as_deref(), None)));
        Self {
            members: members.clone(),
            locality: *locality,
            slow_start: *slow_start,
            panic_threshold: policy.circuit_breaker.panic_threshold,
            panic: policy.circuit_breaker.panic,
            needs_ring,
        }
    }

    /// Whether some method is balanced by hash, which has to know how many calls there are.
    pub(super) fn needs_ring(&self) -> bool {
        self.needs_ring
    }

    /// Weight of an endpoint, and its place in the order in which tiers are used.
    pub(super) fn standing(&self, endpoint: &Endpoint) -> Standing {
        let fits = |member: &&Member| match &member.which {
            Which::Instance(name) => name == endpoint.name(),
            Which::Version(range) => endpoint.version().is_some_and(|version| range.matches(version)),
        };
        let (weight, priority) =
            self.members.iter().find(fits).map_or((1, 0), |member| (member.weight, member.priority));
        let distance = match self.locality {
            Locality::Ignore => Distance::SameProcess,
            Locality::Prefer => Distance::of(endpoint.lane()),
        };
        Standing { weight, tier: (priority, distance) }
    }
}

/// What the rules make of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) weight: u32,
    pub(super) tier: (u32, Distance),
}

/// How far away an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Distance {
    SameProcess,
    SameHost,
    Elsewhere,
}

impl Distance {
    fn of(lane: &Lane) -> Self {
        match lane {
            Lane::InProcess(_) => Self::SameProcess,
            Lane::Http2(pool) if pool.address().is_local() => Self::SameHost,
            Lane::Http2(_) => Self::Elsewhere,
        }
    }
}

/// Why the endpoints that may be picked are not simply those that are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are.
    Normal,
    /// Too few are: breakers are not looked at.
    FailOpen,
    /// Too few are: no calls.
    FailClosed,
}

/// The endpoints of a plugin.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Every endpoint, by ordinal, then the newest first.
    pub(super) all: Vec<Arc<Endpoint>>,
    /// Whether any is ready.
    pub(super) is_ready: bool,
    /// Those of which one is picked.
    pub(super) choice: Choice,
    pub(super) mode: Mode,
    /// Ready ones that are not trusted now, and will be probed.
    pub(super) resting: Vec<Arc<Endpoint>>,
    /// When the next of them may be probed.
    pub(super) next_probe: Moment,
}

/// Endpoints of which one is picked, with what picking needs.
#[derive(Debug, Default)]
pub(super) struct Choice {
    endpoints: Vec<Arc<Endpoint>>,
    /// `None`: all weigh the same.
    weights: Option<AliasTable>,
    ring: Option<Arc<Ring>>,
    slow_start: Option<Duration>,
    /// When the last of them will have come up.
    ramping_until: Moment,
}

/// A hash ring of a whole tier, trusted or not: it is dear to make, and breakers come and go.
#[derive(Debug)]
pub(super) struct Ring {
    ring: HashRing,
    members: Vec<(u32, Arc<Endpoint>)>,
    looks_at_breakers: bool,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            is_ready: false,
            choice: Choice::default(),
            mode: Mode::Normal,
            resting: Vec::new(),
            next_probe: Moment::MAX,
        }
    }
}

impl Snapshot {
    /// `before` is the one that this one replaces.
    pub(super) fn new(mut all: Vec<Arc<Endpoint>>, rules: &Rules, before: &Self) -> Self {
        all.sort_by_key(|endpoint| (endpoint.name().ordinal(), Reverse(endpoint.epoch())));
        let ready = all.iter().filter(|endpoint| endpoint.availability() == Availability::Ready);
        let mut ready: Vec<_> = ready.map(|endpoint| (rules.standing(endpoint), endpoint.clone())).collect();
        // Stable: within a tier they stay in their order.
        ready.sort_by_key(|(standing, _)| standing.tier);
        let is_ready = !ready.is_empty();
        let weighted: Vec<_> = ready.into_iter().filter(|(standing, _)| standing.weight > 0).collect();
        let mut passed_over = Vec::new();
        for tier in weighted.chunk_by(|(a, _), (b, _)| a.tier == b.tier) {
            let (trusted, resting): (Vec<_>, Vec<_>) =
                tier.iter().cloned().partition(|(_, endpoint)| endpoint.is_trusted());
            passed_over.extend(resting.into_iter().map(|(_, endpoint)| endpoint));
            let share = trusted.len() as f64 / tier.len() as f64;
            if !trusted.is_empty() && share >= rules.panic_threshold {
                let ring = rules.needs_ring.then(|| Ring::of(tier, true, before.choice.ring.as_ref()));
                let choice = Choice::new(trusted, rules, ring);
                return Self::with(all, is_ready, choice, Mode::Normal, passed_over);
            }
        }
        let first = weighted.chunk_by(|(a, _), (b, _)| a.tier == b.tier).next().unwrap_or_default();
        let (choice, mode) = match rules.panic {
            _ if first.is_empty() => (Choice::default(), Mode::Normal),
            Panic::Open => {
                let ring = rules.needs_ring.then(|| Ring::of(first, false, before.choice.ring.as_ref()));
                (Choice::new(first.to_vec(), rules, ring), Mode::FailOpen)
            }
            Panic::Closed => (Choice::default(), Mode::FailClosed),
        };
        Self::with(all, is_ready, choice, mode, passed_over)
    }

    fn with(
        all: Vec<Arc<Endpoint>>,
        is_ready: bool,
        choice: Choice,
        mode: Mode,
        resting: Vec<Arc<Endpoint>>,
    ) -> Self {
        let due = resting.iter().filter_map(|endpoint| endpoint.next_probe_at());
        let next_probe = due.min().unwrap_or(Moment::MAX);
        Self { all, is_ready, choice, mode, resting, next_probe }
    }
}

impl Ring {
    fn of(
        tier: &[(Standing, Arc<Endpoint>)],
        looks_at_breakers: bool,
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let members = || tier.iter().map(|(standing, endpoint)| (standing.weight, endpoint));
        let is_same = |before: &&Arc<Self>| {
            let mut before_members = before.members.iter();
            let same = |(weight, endpoint): (u32, &Arc<Endpoint>)| {
                before_members.next().is_some_and(|(other_weight, other)| {
                    weight == *other_weight && Arc::ptr_eq(endpoint, other)
                })
            };
            before.looks_at_breakers == looks_at_breakers
                && before.members.len() == tier.len()
                && members().all(same)
        };
        if let Some(before) = before.filter(is_same) {
            return before.clone();
        }
        let names = members().map(|(weight, endpoint)| (endpoint.name().as_str().as_bytes(), weight));
        let ring = HashRing::new(&names.collect::<Vec<_>>());
        let members = members().map(|(weight, endpoint)| (weight, endpoint.clone())).collect();
        Arc::new(Self { ring, members, looks_at_breakers })
    }

    /// The first endpoint from `hash` on that is trusted, accepted, and has not much more than its share of the calls in
    /// flight; when all of them have, the first that is trusted and accepted.
    pub(super) fn find(
        &self,
        hash: u64,
        in_flight: u64,
        factor: f64,
        accepts: impl Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let trusted = |index: usize| {
            let (_, endpoint) = self.members.get(index)?;
            let is_trusted = !self.looks_at_breakers || endpoint.is_trusted();
            (is_trusted && accepts(endpoint)).then_some(endpoint)
        };
        let fitting = |index: usize| {
            trusted(index)
                .filter(|endpoint| endpoint.in_flight() < self.ring.capacity(index, in_flight, factor))
        };
        self.ring.walk(hash).find_map(fitting).or_else(|| self.ring.walk(hash).find_map(trusted))
    }
}

impl Choice {
    fn new(members: Vec<(Standing, Arc<Endpoint>)>, rules: &Rules, ring: Option<Arc<Ring>>) -> Self {
        let (standings, endpoints): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let each: Vec<u32> = standings.iter().map(|standing| standing.weight).collect();
        let is_even = each.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
        let weights = match is_even {
            true => None,
            false => AliasTable::new(&each),
        };
        let slow_start = rules.slow_start;
        let up = |endpoint: &Arc<Endpoint>| Some(endpoint.ready_since()? + slow_start?);
        let ramping_until = endpoints.iter().filter_map(up).max().unwrap_or_default();
        Self { endpoints, weights, ring, slow_start, ramping_until }
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    pub(super) fn ring(&self) -> Option<&Ring> {
        self.ring.as_deref()
    }

    /// Any, each as likely.
    pub(super) fn any(&self) -> Option<usize> {
        (!self.endpoints.is_empty()).then(|| fastrand::usize(..self.endpoints.len()))
    }

    /// Any, as likely as its weight says.
    pub(super) fn weighted(&self) -> Option<usize> {
        match &self.weights {
            None => self.any(),
            Some(weights) => Some(weights.pick()),
        }
    }

    /// Any but `one`; `None` when the dice say nothing else but `one`.
    pub(super) fn weighted_but(&self, one: usize) -> Option<usize> {
        match &self.weights {
            None => {
                let others = self.endpoints.len().checked_sub(1).filter(|others| *others > 0)?;
                Some((one + 1 + fastrand::usize(..others)) % self.endpoints.len())
            }
            Some(weights) => Some(weights.pick()).filter(|other| *other != one),
        }
    }

    /// Share of its calls that an endpoint takes while it comes up; `None` when it has.
    pub(super) fn ramp(&self, endpoint: &Endpoint, now: Moment) -> Option<f64> {
        if now >= self.ramping_until {
            return None;
        }
        let (since, slow_start) = (endpoint.ready_since()?, self.slow_start?);
        let share = now.since(since).as_secs_f64() / slow_start.as_secs_f64();
        (share < 1.0).then_some(share.max(FIRST_SHARE))
    }
}

#[cfg(test)]
pub(super) mod tests;
