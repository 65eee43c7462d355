//! The endpoints of one plugin.

mod pick;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use tonic::Code;

pub(super) use self::pick::Picked;
use super::admission::{InFlight, RateScopes};
use super::cache::AnswerCache;
use super::snapshot::{Rules, Snapshot};
use super::wait::Waiting;
use super::{Availability, DEFAULT_MAX_MESSAGE, Endpoint, Method};
use crate::config::{Policies, Policy};
use crate::name::{InstanceId, InstanceName, PluginName};
use crate::resilience::breaker::Transition;
use crate::resilience::budget::RetryBudget;
use crate::resilience::clock::{Clock, Moment};
use crate::transport::Lane;

/// How calls to one plugin are treated.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// How calls are treated, by service and method.
    pub policies: Policies,
    /// Largest message in bytes, in either direction. Default: [`DEFAULT_MAX_MESSAGE`].
    pub max_message: u64,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self { policies: Policies::default(), max_message: DEFAULT_MAX_MESSAGE }
    }
}

/// The endpoints of one plugin, and how calls are spread over them.
#[derive(Debug)]
pub struct Route {
    plugin: PluginName,
    settings: RouteSettings,
    policy: Policy,
    rules: Rules,
    clock: Clock,
    snapshot: ArcSwap<Snapshot>,
    // Whoever changes the snapshot holds this, so that no change is lost.
    changing: Mutex<()>,
    readiness: watch::Sender<Readiness>,
    wake: ArcSwapOption<Wake>,
    /// Calls in flight, where balancing has to know.
    in_flight: Option<AtomicU64>,
    budget: RetryBudget,
    waiting: Waiting,
    rates: RateScopes,
    limit: Option<InFlight>,
    cache: AnswerCache,
}

/// Whether a call would find an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// None has been ready since then.
    NotReady(Moment),
    /// None is, and one is being started because a call wants it.
    Waking,
}

/// Called when a call finds no endpoint that is ready.
struct Wake(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}

impl Route {
    /// A route without endpoints.
    pub fn new(plugin: PluginName, settings: RouteSettings) -> Arc<Self> {
        let policy = settings.policies.of_plugin();
        let rules = Rules::new(&policy, &settings.policies);
        let clock = Clock::start();
        let (readiness, _) = watch::channel(Readiness::NotReady(clock.now()));
        let in_flight = rules.needs_ring().then(AtomicU64::default);
        let budget = RetryBudget::new(policy.retry.budget_ratio, policy.retry.budget_min_per_second);
        let (rates, limit) = (RateScopes::new(&policy), InFlight::new(&policy.concurrency));
        let cache = AnswerCache::new(policy.cache.max_size.as_u64());
        Arc::new(Self {
            plugin,
            settings,
            policy,
            cache,
            rules,
            clock,
            snapshot: ArcSwap::default(),
            changing: Mutex::new(()),
            readiness,
            wake: ArcSwapOption::empty(),
            in_flight,
            budget,
            waiting: Waiting::default(),
            rates,
            limit,
        })
    }

    /// Whose endpoints these are.
    pub fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// What is said of how calls are treated.
    pub fn policies(&self) -> &Policies {
        &self.settings.policies
    }

    /// What holds for the plugin as a whole.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Largest message in bytes.
    pub fn max_message(&self) -> u64 {
        self.settings.max_message
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What retries and hedges are paid from.
    pub(super) fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// How many calls a second may be made.
    pub(super) fn rates(&self) -> &RateScopes {
        &self.rates
    }

    /// How many calls may be in flight; `None` for any number.
    pub(super) fn limit(&self) -> Option<&InFlight> {
        self.limit.as_ref()
    }

    /// Answers that may be given a second time. They are gone with the route: those of another version of the plugin may be
    /// others.
    pub(super) fn cache(&self) -> &AnswerCache {
        &self.cache
    }

    pub(super) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Every endpoint, by ordinal, then the newest first.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.snapshot.load().all.clone()
    }

    /// Whether any endpoint may be picked now.
    pub fn is_ready(&self) -> bool {
        self.snapshot.load().is_ready
    }

    pub(super) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Has `wake` called whenever a call finds no endpoint that is ready. It must not wait, and is called often while
    /// there is none. Replaces what was given before.
    pub fn on_wanted(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.wake.store(Some(Arc::new(Wake(wake))));
    }

    /// Says that an endpoint is being started because a call wants it: calls wait for it as long as they may, however long
    /// there was none.
    pub fn is_waking(&self) {
        self.set_waking(true);
    }

    /// Says that its start failed: from now on calls wait as for any endpoint that is not ready.
    pub fn is_not_waking(&self) {
        self.set_waking(false);
    }

    fn set_waking(&self, waking: bool) {
        let now = self.now();
        self.readiness.send_if_modified(|readiness| {
            let next = match (&readiness, waking) {
                (Readiness::NotReady(_), true) => Readiness::Waking,
                (Readiness::Waking, false) => Readiness::NotReady(now),
                _ => return false,
            };
            *readiness = next;
            true
        });
    }

    /// An endpoint for this route, not yet in it.
    pub fn endpoint(&self, name: InstanceName, id: InstanceId, epoch: u64, lane: Lane) -> Arc<Endpoint> {
        Endpoint::new(name, id, epoch, lane, &self.policy)
    }

    /// Adds an endpoint, with the availability it has.
    pub fn insert(&self, endpoint: Arc<Endpoint>) {
        self.change(|all| all.push(endpoint));
    }

    /// Forgets an endpoint. Calls on it go on to their end.
    pub fn remove(&self, id: &InstanceId) {
        let now = self.now();
        self.change(|all| {
            for endpoint in all.iter().filter(|endpoint| endpoint.id() == id) {
                endpoint.store_availability(Availability::Gone, now);
            }
            all.retain(|endpoint| endpoint.id() != id);
        });
    }

    /// Says whether an endpoint may be picked from now on.
    pub fn set_availability(&self, endpoint: &Endpoint, availability: Availability) {
        let now = self.now();
        self.change(|_| endpoint.store_availability(availability, now));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Endpoint>>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot.load_full();
        let mut all = before.all.clone();
        change(&mut all);
        let snapshot = Snapshot::new(all, &self.rules, &before);
        let is_ready = snapshot.is_ready;
        if let Some(limit) = &self.limit {
            limit.resize(snapshot.choice.endpoints().len());
        }
        self.snapshot.store(Arc::new(snapshot));
        // After the store: whoever is woken finds what it waited for.
        self.readiness.send_if_modified(|readiness| {
            let changed = is_ready != (*readiness == Readiness::Ready);
            if changed {
                *readiness = if is_ready { Readiness::Ready } else { Readiness::NotReady(self.now()) };
            }
            changed
        });
    }

    /// Looks at the breakers again, one of which has changed.
    pub(super) fn breaker_changed(&self, endpoint: &Endpoint, transition: Option<Transition>) {
        match transition {
            Some(Transition::Opened { rule, until }) => {
                endpoint.count_ejection();
                let rest = until.since(self.now());
                tracing::warn!(
                    plugin = %self.plugin, instance = %endpoint.name(), ?rule, rest_ms = rest.as_millis() as u64,
                    "circuit breaker open: it fails too often"
                );
            }
            Some(Transition::Reopened { until }) => {
                let rest = until.since(self.now());
                tracing::info!(
                    plugin = %self.plugin, instance = %endpoint.name(), rest_ms = rest.as_millis() as u64,
                    "circuit breaker open again: its probe failed"
                );
            }
            Some(Transition::Closed) => {
                tracing::info!(plugin = %self.plugin, instance = %endpoint.name(), "circuit breaker closed");
            }
            None => {}
        }
        self.change(|_| {});
    }

    /// A call begins on one of the endpoints.
    pub(super) fn begin(&self) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It has ended.
    pub(super) fn end(&self, method: &Method, took: Duration, code: Code, now: Moment) {
        // How long a stream lasts says nothing of how busy anybody is.
        if let Some(limit) = self.limit.as_ref().filter(|_| !method.streams())
            && limit.learn(took, code, now)
        {
            limit.resize(self.snapshot.load().choice.endpoints().len());
        }
        if let Some(in_flight) = &self.in_flight {
            in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
