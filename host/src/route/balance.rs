//! Which of several ready endpoints takes the next call.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Endpoint;

/// How calls are spread over the ready endpoints of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Each in turn: even counts, whatever the calls cost.
    RoundRobin,
    /// The one with fewer calls in flight out of two taken at random ("power of two choices", Mitzenmacher
    /// 2001): moves calls away from a slow instance without any clock.
    #[default]
    LeastRequest,
}

/// A name that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a balancing policy: use round_robin or least_request")]
pub struct UnknownPolicy(String);

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
        })
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text {
            "round_robin" => Ok(Self::RoundRobin),
            "least_request" => Ok(Self::LeastRequest),
            _ => Err(UnknownPolicy(text.chars().take(64).collect())),
        }
    }
}

/// A policy with what it remembers.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: Policy,
    turn: AtomicUsize,
}

impl Balancer {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, turn: AtomicUsize::new(0) }
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// Picks among `ready`; `None` only when there is none.
    pub(super) fn pick<'a>(&self, ready: &'a [Arc<Endpoint>]) -> Option<&'a Arc<Endpoint>> {
        match (ready, self.policy) {
            ([] | [_], _) => ready.first(),
            (_, Policy::RoundRobin) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                ready.get(turn % ready.len())
            }
            (_, Policy::LeastRequest) => {
                let first = fastrand::usize(..ready.len());
                // Any but the first, each as likely.
                let other = (first + fastrand::usize(1..ready.len())) % ready.len();
                match (ready.get(first), ready.get(other)) {
                    (Some(a), Some(b)) if b.in_flight() < a.in_flight() => Some(b),
                    (a, _) => a,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::endpoint::tests::endpoints;

    fn shares(policy: Policy, picks: usize, hold: impl Fn(usize) -> bool) -> Vec<usize> {
        let (balancer, endpoints) = (Balancer::new(policy), endpoints(3));
        let mut held = Vec::new();
        let mut counts = vec![0; endpoints.len()];
        for _ in 0..picks {
            let picked = balancer.pick(&endpoints).unwrap();
            let index = picked.name().ordinal() as usize;
            counts[index] += 1;
            if hold(index) {
                held.push(picked.begin());
            }
        }
        counts
    }

    #[test]
    fn round_robin_gives_each_the_same() {
        assert_eq!(shares(Policy::RoundRobin, 30_000, |_| false), [10_000; 3]);
    }

    #[test]
    fn least_request_gives_idle_endpoints_about_the_same() {
        for count in shares(Policy::LeastRequest, 30_000, |_| false) {
            assert!((9_500..=10_500).contains(&count), "{count} of 30000");
        }
    }

    #[test]
    fn least_request_leaves_an_endpoint_that_never_answers() {
        let counts = shares(Policy::LeastRequest, 30_000, |index| index == 1);
        assert!(counts[1] <= 1, "{counts:?}");
    }

    #[test]
    fn one_endpoint_is_picked_and_none_is_none() {
        for policy in [Policy::RoundRobin, Policy::LeastRequest] {
            let balancer = Balancer::new(policy);
            assert!(balancer.pick(&[]).is_none());
            assert!(balancer.pick(&endpoints(1)).is_some());
        }
    }

    #[test]
    fn policies_read_what_they_write() {
        for policy in [Policy::RoundRobin, Policy::LeastRequest] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("random".parse::<Policy>().is_err());
    }
}
