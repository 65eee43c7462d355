//! How many calls are let in: by rate, and by how many are in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use plugmesh::metadata;
use tonic::Code;

use super::RouteError;
use crate::config::{Concurrency, Policy, RateLimit, SetBy};
use crate::name::PluginName;
use crate::resilience::clock::Moment;
use crate::resilience::gradient::{GradientLimit, GradientSettings};
use crate::resilience::keyed::KeyedBuckets;
use crate::resilience::limiter::{Limiter, Shed};
use crate::resilience::token_bucket::{Rate, TokenBucket};

static CALLER: HeaderName = HeaderName::from_static(metadata::CALLER);

/// Whom calls that do not come through the gateway belong to: the program itself.
const APP: &[u8] = b"app";

/// Most calls in flight that an adaptive limit may find right, unless configured (Envoy's).
const MAX_ADAPTIVE: u32 = 1000;

/// The rates of what a `rate_limit` is written at: a plugin, a service or a method.
#[derive(Debug)]
pub(super) struct RateLimits {
    all: Option<TokenBucket>,
    each: Option<KeyedBuckets>,
}

impl RateLimits {
    /// `None` when there is no limit.
    pub(super) fn new(said: &RateLimit) -> Option<Arc<Self>> {
        let rate =
            |per_second: Option<f64>, burst| per_second.filter(|_| said.enabled).map(|n| Rate::new(n, burst));
        let all = rate(said.requests_per_second, said.burst_size).map(TokenBucket::new);
        let each = rate(said.principal_requests_per_second, said.principal_burst_size).map(KeyedBuckets::new);
        (all.is_some() || each.is_some()).then(|| Arc::new(Self { all, each }))
    }

    /// Lets one call in, or says after what time the next one would be. Who calls is in its head.
    pub(super) fn admit(&self, headers: &HeaderMap, now: Moment) -> Result<(), Duration> {
        if let Some(each) = &self.each {
            let caller = headers.get(&CALLER).map_or(APP, |caller| caller.as_bytes());
            each.try_take(caller, now)?;
        }
        self.all.as_ref().map_or(Ok(()), |all| all.try_take(now))
    }
}

/// The rates of one plugin, by what they are written at.
#[derive(Debug)]
pub(super) struct RateScopes {
    plugin: Option<Arc<RateLimits>>,
    services: Mutex<HashMap<Arc<str>, Option<Arc<RateLimits>>>>,
}

impl RateScopes {
    pub(super) fn new(policy: &Policy) -> Self {
        Self { plugin: RateLimits::new(&policy.rate_limit), services: Mutex::default() }
    }

    /// The rates that hold for a method: those of the closest scope that says something.
    pub(super) fn of(&self, service: &Arc<str>, said_by: SetBy, policy: &Policy) -> Option<Arc<RateLimits>> {
        match said_by {
            SetBy::Method => RateLimits::new(&policy.rate_limit),
            SetBy::Service => {
                let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
                let shared = services.entry(service.clone());
                shared.or_insert_with(|| RateLimits::new(&policy.rate_limit)).clone()
            }
            SetBy::Default | SetBy::Host | SetBy::Manifest | SetBy::Plugin | SetBy::Descriptor => {
                self.plugin.clone()
            }
        }
    }
}

/// How many calls to a plugin may be in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    limiter: Arc<Limiter>,
    said: Concurrency,
    adaptive: Option<GradientLimit>,
}

impl InFlight {
    /// `None` when any number may.
    pub(super) fn new(said: &Concurrency) -> Option<Self> {
        let is_limited =
            said.adaptive || said.max_in_flight.is_some() || said.max_in_flight_per_instance.is_some();
        is_limited.then(|| {
            let max = said.max_in_flight.unwrap_or(MAX_ADAPTIVE);
            let settings = GradientSettings { max, ..GradientSettings::default() };
            let this = Self {
                // Instances set it right.
                limiter: Limiter::new(0, said.queue_size, said.queue_timeout),
                said: said.clone(),
                adaptive: said.adaptive.then(|| GradientLimit::new(settings)),
            };
            this.resize(0);
            this
        })
    }

    pub(super) fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    /// So many instances may be picked now. While there is none, calls wait for one elsewhere.
    pub(super) fn resize(&self, instances: usize) {
        let instances = u32::try_from(instances.max(1)).unwrap_or(u32::MAX);
        let by_instance = self.said.max_in_flight_per_instance.map(|each| each.saturating_mul(instances));
        let found = self.adaptive.as_ref().map(GradientLimit::limit);
        let limits = [self.said.max_in_flight, by_instance, found];
        self.limiter.set_limit(limits.into_iter().flatten().min().unwrap_or(u32::MAX));
    }

    /// A call has ended after `took`. Whether the limit has changed.
    pub(super) fn learn(&self, took: Duration, code: Code, now: Moment) -> bool {
        let Some(adaptive) = &self.adaptive else { return false };
        let dropped = matches!(code, Code::DeadlineExceeded | Code::ResourceExhausted);
        adaptive.record(took, self.limiter.in_flight(), dropped, now).is_some()
    }
}

impl RouteError {
    pub(super) fn rate_limited(plugin: &PluginName, wait: Duration) -> Self {
        let shown = humantime::format_duration(Duration::from_millis(wait.as_millis().max(1) as u64));
        let message = format!(
            "the rate limit for this call to the plugin {plugin} is used up; there is room in {shown}"
        );
        Self::exhausted(message, wait)
    }

    pub(super) fn shed(plugin: &PluginName, limiter: &Limiter, shed: Shed, queue_timeout: Duration) -> Self {
        let message = format!(
            "the plugin {plugin} has {} calls in flight, which is its limit, and {} that wait: {shed}",
            limiter.in_flight(),
            limiter.queued()
        );
        match shed {
            Shed::QueueFull | Shed::WaitedTooLong => Self::exhausted(message, queue_timeout),
            Shed::DeadlinePassed => Self::late_in_queue(message),
        }
    }
}
