//! Why an endpoint would or would not be picked now, in words.

use std::sync::Arc;
use std::time::Duration;

use super::snapshot::{Distance, Mode, Snapshot, Standing};
use super::{Availability, Endpoint, Method};
use crate::config::{Balance, Setting};
use crate::resilience::breaker::State;
use crate::resilience::clock::Moment;

/// What would become of a call to a method now.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The policy in force, value by value.
    pub settings: Vec<Setting>,
    /// How calls are spread.
    pub balance: Balance,
    /// Every endpoint of the plugin.
    pub candidates: Vec<Candidate>,
    /// Retries and hedges that may be made at once.
    pub retry_budget: f64,
    /// Calls that wait for an endpoint.
    pub waiting: usize,
    /// Calls that may be in flight; `None` for any number.
    pub limit: Option<u32>,
    /// Calls that wait for a place among those.
    pub queued: u32,
    /// What 95 of 100 good calls took at most, of late.
    pub p95: Option<Duration>,
}

/// One endpoint, as the balancer sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Whether it may be picked now.
    pub is_eligible: bool,
    /// Why, or why not.
    pub reason: String,
    /// Its share of the calls, next to that of others.
    pub weight: u32,
    /// 0 comes first.
    pub priority: u32,
    /// Its latency, a moving average that follows peaks at once; `None` before the first answer.
    pub latency: Option<Duration>,
    /// Its circuit breaker; `None` without one.
    pub breaker: Option<Breaker>,
}

/// State of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Calls pass.
    Closed,
    /// None pass, for so long.
    Open(Duration),
    /// One at a time passes, as a probe.
    HalfOpen,
}

impl Method {
    /// What would become of a call to it now.
    pub fn explain(&self) -> Explanation {
        let route = self.route();
        let (now, snapshot) = (route.now(), route.snapshot());
        let view = View { method: self, snapshot: &snapshot, now };
        let name = self.info().map(|info| info.name.as_str());
        let idempotency = self.info().and_then(|info| info.idempotency);
        Explanation {
            settings: route.policies().settings(self.service(), name, idempotency),
            balance: self.policy().balance.policy,
            candidates: snapshot.all.iter().map(|endpoint| view.candidate(endpoint)).collect(),
            retry_budget: route.budget().balance(now),
            waiting: route.waiting().count(),
            limit: route.limit().map(|limit| limit.limiter().limit()),
            queued: route.limit().map_or(0, |limit| limit.limiter().queued()),
            p95: self.stats().p95(now),
        }
    }
}

struct View<'a> {
    method: &'a Method,
    snapshot: &'a Snapshot,
    now: Moment,
}

impl View<'_> {
    fn candidate(&self, endpoint: &Arc<Endpoint>) -> Candidate {
        let standing = self.method.route().rules().standing(endpoint);
        let breaker = endpoint.breaker().map(|state| match state {
            State::Closed => Breaker::Closed,
            State::Open { until } => Breaker::Open(until.since(self.now)),
            State::HalfOpen => Breaker::HalfOpen,
        });
        let (is_eligible, reason) = match self.obstacle(endpoint, standing, breaker) {
            Some(obstacle) => (false, obstacle),
            None => (true, self.prospects(endpoint, breaker)),
        };
        Candidate {
            endpoint: endpoint.clone(),
            is_eligible,
            reason,
            weight: standing.weight,
            priority: standing.tier.0,
            latency: endpoint.latency(self.now),
            breaker,
        }
    }

    /// Why it is not picked; `None` when it may be.
    fn obstacle(
        &self,
        endpoint: &Arc<Endpoint>,
        standing: Standing,
        breaker: Option<Breaker>,
    ) -> Option<String> {
        let availability = endpoint.availability();
        if availability != Availability::Ready {
            return Some(format!("it is {availability}"));
        }
        if standing.weight == 0 {
            return Some("its weight is 0: only calls that insist on it get there".to_owned());
        }
        let choice = self.snapshot.choice.endpoints();
        let is_chosen = choice.iter().any(|chosen| Arc::ptr_eq(chosen, endpoint));
        if !is_chosen {
            return Some(match breaker {
                Some(Breaker::Open(rest)) if rest.is_zero() => {
                    format!(
                        "its circuit breaker is open ({}); the next call is its probe",
                        self.failures(endpoint)
                    )
                }
                Some(Breaker::Open(rest)) => format!(
                    "its circuit breaker is open for {} more ({})",
                    humantime::format_duration(Duration::from_millis(rest.as_millis() as u64)),
                    self.failures(endpoint)
                ),
                Some(Breaker::HalfOpen) => {
                    "its circuit breaker is half-open: it gets one call at a time, as a probe".to_owned()
                }
                Some(Breaker::Closed) | None => self.comes_later(standing),
            });
        }
        let limit = self.method.route().policy().concurrency.max_in_flight_per_instance?;
        let is_full = endpoint.in_flight() >= u64::from(limit);
        is_full.then(|| format!("it has {} calls in flight, as many as it may", endpoint.in_flight()))
    }

    fn failures(&self, endpoint: &Endpoint) -> String {
        format!("{} of its {} calls failed", endpoint.failures(), endpoint.calls())
    }

    fn comes_later(&self, standing: Standing) -> String {
        let first = self.snapshot.choice.endpoints().first();
        let (priority, _) = first
            .map_or((0, Distance::SameProcess), |first| self.method.route().rules().standing(first).tier);
        match priority < standing.tier.0 {
            true => format!("instances of priority {priority} come first, and some of them are healthy"),
            false => "nearer instances come first, and some of them are healthy".to_owned(),
        }
    }

    /// How good its chances are.
    fn prospects(&self, endpoint: &Arc<Endpoint>, breaker: Option<Breaker>) -> String {
        let mut text = match self.method.policy().balance.policy {
            Balance::RoundRobin => "each is picked in turn".to_owned(),
            Balance::Random => "each is as likely".to_owned(),
            Balance::WeightedRandom => "it is as likely as its weight says".to_owned(),
            Balance::LeastRequest => {
                format!("the less busy of two is picked, and it has {} in flight", endpoint.in_flight())
            }
            Balance::PeakEwma => match endpoint.latency(self.now) {
                Some(_) => format!(
                    "the quicker of two is picked, and it is expected to take {}",
                    duration(Duration::from_nanos(endpoint.cost(self.now) as u64))
                ),
                None => "the quicker of two is picked, and nobody knows how quick it is".to_owned(),
            },
            Balance::ConsistentHash => "it is picked for the keys that are its own".to_owned(),
        };
        if self.snapshot.mode == Mode::FailOpen && !matches!(breaker, Some(Breaker::Closed) | None) {
            text.push_str("; its circuit breaker is open, but too few others are trusted");
        }
        if let Some(share) = self.snapshot.choice.ramp(endpoint, self.now) {
            text.push_str(&format!("; it is new and takes {:.0} % of its share", share * 100.0));
        }
        text
    }
}

/// With as much precision as a person wants.
fn duration(duration: Duration) -> String {
    let micros = duration.as_micros() as u64;
    let rounded = match micros {
        0..10_000 => Duration::from_micros(micros),
        _ => Duration::from_millis(micros / 1000),
    };
    humantime::format_duration(rounded).to_string()
}
