//! One method of one plugin, and how calls to it are treated.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;

use super::Route;
use super::admission::RateLimits;
use super::balance::Balancer;
use super::rescue::Rescue;
use super::stats::MethodStats;
use crate::config::{Idempotency, Policy, SetBy};
use crate::resilience::backoff::Backoff;

/// What a plugin says of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Fully qualified name.
    pub name: String,
    /// Its methods; none when its descriptor is not known.
    pub methods: Vec<MethodInfo>,
}

/// What a descriptor says of a method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodInfo {
    /// Name without the service.
    pub name: String,
    /// What may happen when it is called twice; `None` when the descriptor does not say.
    pub idempotency: Option<Idempotency>,
    /// Whether the client or the server sends a stream.
    pub streams: bool,
    /// The fixed answer of the policy (`fallback.answer`), encoded as the response message.
    pub answer: Option<Bytes>,
}

/// A service of which only the name is known.
impl From<String> for ServiceInfo {
    fn from(name: String) -> Self {
        Self { name, methods: Vec::new() }
    }
}

/// One method of one plugin, or all methods of a service that are not known by name.
#[derive(Debug)]
pub struct Method {
    route: Arc<Route>,
    service: Arc<str>,
    info: Option<MethodInfo>,
    policy: Policy,
    backoff: Backoff,
    balancer: Balancer,
    stats: Arc<MethodStats>,
    rates: Option<Arc<RateLimits>>,
    /// Whether the deadline is said for this service or method.
    is_timeout_its_own: bool,
    rescue: Option<Rescue>,
}

impl Method {
    /// `before` is the method of the same name on the route that this one replaces: what is counted goes on.
    pub(super) fn new(
        route: Arc<Route>,
        service: Arc<str>,
        info: Option<MethodInfo>,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let stats = before.map_or_else(|| Arc::new(MethodStats::new()), |before| before.stats.clone());
        let name = info.as_ref().map(|info| info.name.as_str());
        let said = info.as_ref().and_then(|info| info.idempotency);
        let policy = route.policies().of(&service, name, said);
        let retry = &policy.retry;
        let backoff = Backoff {
            initial: retry.initial_interval,
            max: retry.max_interval,
            multiplier: retry.multiplier,
            jitter: retry.jitter,
        };
        let balancer = Balancer::new(&policy.balance);
        let said = route.policies().set_by("connection", "request_timeout", &service, name);
        let is_timeout_its_own = said >= SetBy::Service;
        let scope = route.policies().scope_of("rate_limit", &service, name);
        let rates = route.rates().of(&service, scope, &policy);
        let rescue = Rescue::of(route.plugin(), &policy, info.as_ref());
        Arc::new(Self {
            rescue,
            rates,
            route,
            service,
            info,
            policy,
            backoff,
            balancer,
            stats,
            is_timeout_its_own,
        })
    }

    /// The plugin's route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The service, fully qualified.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Name without the service; empty for the methods that are not known by name.
    pub fn name(&self) -> &str {
        self.info.as_ref().map(|info| info.name.as_str()).unwrap_or_default()
    }

    /// `/package.Service/Method`, as a call names it.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}", self.service, self.name())
    }

    /// What its descriptor says; `None` for the methods that are not known by name.
    pub fn info(&self) -> Option<&MethodInfo> {
        self.info.as_ref()
    }

    /// What holds for its calls.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether a call may be made again that may have been served already.
    pub fn is_idempotent(&self) -> bool {
        self.policy.idempotency >= Idempotency::Idempotent
    }

    /// Whether it is known that one side sends a stream.
    pub fn streams(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.streams)
    }

    /// Whether it is known that neither side does.
    pub fn is_unary(&self) -> bool {
        self.info.as_ref().is_some_and(|info| !info.streams)
    }

    /// Whether another attempt may be made beside one that waits.
    pub fn is_hedged(&self) -> bool {
        let hedging = &self.policy.hedging;
        hedging.enabled && hedging.delay.is_some() && self.is_idempotent()
    }

    /// Whether the policy's deadline is for its calls: a stream may last, unless somebody says otherwise for just this
    /// service or method.
    pub(super) fn has_default_deadline(&self) -> bool {
        self.is_unary() || self.is_timeout_its_own
    }

    /// How many calls a second may be made.
    pub(super) fn rates(&self) -> Option<&RateLimits> {
        self.rates.as_deref()
    }

    /// What answers when no instance does; `None` when nothing does.
    pub(super) fn rescue(&self) -> Option<&Rescue> {
        self.rescue.as_ref()
    }

    /// What is counted of its calls.
    pub(crate) fn stats(&self) -> &Arc<MethodStats> {
        &self.stats
    }

    pub(super) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    pub(super) fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Metadata that decides which instance is called.
    pub(super) fn hash_header(&self) -> Option<&HeaderName> {
        self.balancer.hash_header()
    }
}
