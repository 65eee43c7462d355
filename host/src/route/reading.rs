//! What a route looks like at one moment, for metrics.

use std::sync::Arc;
use std::time::Duration;

use super::{Endpoint, Route};

/// Levels of a route.
#[derive(Debug)]
pub(crate) struct Gauges {
    /// Retries that could be made at once.
    pub(crate) budget: f64,
    /// Calls that wait for an endpoint.
    pub(crate) waiting: u64,
    /// Calls that wait for a place, and how many places there are; `None` where there is no limit.
    pub(crate) limit: Option<(u64, u64)>,
    /// Every endpoint with its latency, the newest of a name first.
    pub(crate) endpoints: Vec<(Arc<Endpoint>, Option<Duration>)>,
}

impl Route {
    pub(crate) fn gauges(&self) -> Gauges {
        let now = self.now();
        let endpoints = self.endpoints().into_iter().map(|endpoint| {
            let latency = endpoint.latency(now);
            (endpoint, latency)
        });
        let limit = self.limit().map(|limit| {
            let limiter = limit.limiter();
            (limiter.queued().into(), limiter.limit().into())
        });
        Gauges {
            budget: self.budget().balance(now),
            waiting: self.waiting().count() as u64,
            limit,
            endpoints: endpoints.collect(),
        }
    }
}
