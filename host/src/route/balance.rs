//! Which of several endpoints takes the next call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderName;

use super::Endpoint;
use super::snapshot::Choice;
use crate::config::{Balance, Balancing};
use crate::resilience::clock::Moment;

/// Draws before the endpoints are looked at one by one: with half of them unacceptable one call in eight gets there.
const DRAWS: usize = 3;

/// A policy with what it remembers.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: Balance,
    hash_header: Option<HeaderName>,
    hash_balance_factor: f64,
    turn: AtomicUsize,
}

/// What a call asks for.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) now: Moment,
    /// Hash of the value that decides, for [`Balance::ConsistentHash`].
    pub(super) hash: Option<u64>,
    /// Endpoints that have been tried.
    pub(super) tried: &'a [Arc<Endpoint>],
    /// Calls in flight that an endpoint may have.
    pub(super) limit: u64,
    /// Calls in flight to all of them, where that is counted.
    pub(super) in_flight: u64,
}

impl Ask<'_> {
    /// Whether `endpoint` may take the call at all.
    pub(super) fn accepts(&self, endpoint: &Arc<Endpoint>) -> bool {
        endpoint.in_flight() < self.limit && !self.tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint))
    }
}

impl Balancer {
    pub(super) fn new(settings: &Balancing) -> Self {
        Self {
            policy: settings.policy,
            // Checked when it was read; one made in code that is none leads nowhere.
            hash_header: settings.hash_header.as_deref().and_then(|name| name.parse().ok()),
            hash_balance_factor: settings.hash_balance_factor,
            turn: AtomicUsize::new(0),
        }
    }

    /// Metadata whose value decides; `None` when none does.
    pub(super) fn hash_header(&self) -> Option<&HeaderName> {
        self.hash_header.as_ref().filter(|_| self.policy == Balance::ConsistentHash)
    }

    /// Picks an endpoint that the call accepts; `None` only when there is none.
    pub(super) fn choose<'a>(&self, choice: &'a Choice, ask: &Ask<'_>) -> Option<&'a Arc<Endpoint>> {
        let endpoints = choice.endpoints();
        if let [only] = endpoints {
            return ask.accepts(only).then_some(only);
        }
        let chosen = match self.policy {
            Balance::RoundRobin => None,
            Balance::Random => draw(choice, ask, || choice.any()),
            Balance::WeightedRandom => draw(choice, ask, || choice.weighted()),
            Balance::LeastRequest => of_two(choice, ask, Endpoint::in_flight),
            Balance::PeakEwma => of_two(choice, ask, |endpoint| endpoint.cost(ask.now)),
            Balance::ConsistentHash => match (ask.hash, choice.ring()) {
                (Some(hash), Some(ring)) => {
                    let accepts = |endpoint: &Arc<Endpoint>| ask.accepts(endpoint);
                    return ring.find(hash, ask.in_flight, self.hash_balance_factor, accepts);
                }
                _ => draw(choice, ask, || choice.weighted()),
            },
        };
        if let Some(chosen) = chosen {
            return endpoints.get(chosen);
        }
        let start = match self.policy {
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
            _ => fastrand::usize(..),
        };
        scan(endpoints, start, |endpoint| admits(choice, ask, endpoint))
            // One that is coming up is better than none.
            .or_else(|| scan(endpoints, start, |endpoint| ask.accepts(endpoint)))
    }
}

/// Whether `endpoint` takes the call now: one that is coming up takes its growing share only.
fn admits(choice: &Choice, ask: &Ask<'_>, endpoint: &Arc<Endpoint>) -> bool {
    ask.accepts(endpoint) && choice.ramp(endpoint, ask.now).is_none_or(|share| fastrand::f64() < share)
}

/// The first acceptable one of a few.
fn draw(choice: &Choice, ask: &Ask<'_>, mut next: impl FnMut() -> Option<usize>) -> Option<usize> {
    let endpoints = choice.endpoints();
    (0..DRAWS)
        .filter_map(|_| next())
        .find(|index| endpoints.get(*index).is_some_and(|endpoint| admits(choice, ask, endpoint)))
}

/// The better of two taken at random ("power of two choices").
fn of_two<C: PartialOrd>(choice: &Choice, ask: &Ask<'_>, cost: impl Fn(&Endpoint) -> C) -> Option<usize> {
    let one = draw(choice, ask, || choice.weighted())?;
    let Some(other) = draw(choice, ask, || choice.weighted_but(one)) else { return Some(one) };
    match (choice.endpoints().get(one), choice.endpoints().get(other)) {
        (Some(a), Some(b)) if cost(b) < cost(a) => Some(other),
        _ => Some(one),
    }
}

fn scan<'a>(
    endpoints: &'a [Arc<Endpoint>],
    start: usize,
    admits: impl Fn(&Arc<Endpoint>) -> bool,
) -> Option<&'a Arc<Endpoint>> {
    let (before, after) = endpoints.split_at_checked(start.checked_rem(endpoints.len())?)?;
    after.iter().chain(before).find(|endpoint| admits(endpoint))
}

#[cfg(test)]
mod tests;
