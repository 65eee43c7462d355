//! Which of several ready endpoints takes the next call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Endpoint;
use crate::config::Balance;

/// A policy with what it remembers.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: Balance,
    turn: AtomicUsize,
}

impl Balancer {
    pub(super) fn new(policy: Balance) -> Self {
        Self { policy, turn: AtomicUsize::new(0) }
    }

    pub(super) fn policy(&self) -> Balance {
        self.policy
    }

    /// Picks among `ready`; `None` only when there is none.
    pub(super) fn pick<'a>(&self, ready: &'a [Arc<Endpoint>]) -> Option<&'a Arc<Endpoint>> {
        match (ready, self.policy) {
            ([] | [_], _) => ready.first(),
            (_, Balance::RoundRobin) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                ready.get(turn % ready.len())
            }
            (_, _) => {
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

    fn shares(policy: Balance, picks: usize, hold: impl Fn(usize) -> bool) -> Vec<usize> {
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
        assert_eq!(shares(Balance::RoundRobin, 30_000, |_| false), [10_000; 3]);
    }

    #[test]
    fn least_request_gives_idle_endpoints_about_the_same() {
        for count in shares(Balance::LeastRequest, 30_000, |_| false) {
            assert!((9_500..=10_500).contains(&count), "{count} of 30000");
        }
    }

    #[test]
    fn least_request_leaves_an_endpoint_that_never_answers() {
        let counts = shares(Balance::LeastRequest, 30_000, |index| index == 1);
        assert!(counts[1] <= 1, "{counts:?}");
    }

    #[test]
    fn one_endpoint_is_picked_and_none_is_none() {
        for policy in [Balance::RoundRobin, Balance::LeastRequest] {
            let balancer = Balancer::new(policy);
            assert!(balancer.pick(&[]).is_none());
            assert!(balancer.pick(&endpoints(1)).is_some());
        }
    }
}
