//! The endpoints of one plugin.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::balance::Balancer;
use super::call::Call;
use super::{Availability, DEFAULT_MAX_MESSAGE, Endpoint, Policy, RouteError};
use crate::name::{InstanceId, PluginName};
use crate::transport::Slot;

/// How calls to one plugin are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSettings {
    /// How calls are spread. Default: [`Policy::LeastRequest`].
    pub policy: Policy,
    /// Largest message in bytes, in either direction. Default: [`DEFAULT_MAX_MESSAGE`].
    pub max_message: u64,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self { policy: Policy::default(), max_message: DEFAULT_MAX_MESSAGE }
    }
}

/// The endpoints of one plugin, and how calls are spread over them.
#[derive(Debug)]
pub struct Route {
    plugin: PluginName,
    max_message: u64,
    balancer: Balancer,
    endpoints: ArcSwap<Endpoints>,
    wake: ArcSwapOption<Wake>,
    // Whoever changes the snapshot holds this, so that no change is lost.
    changing: Mutex<()>,
}

/// Called when a call finds no endpoint that is ready.
struct Wake(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}

/// Where one call goes.
pub(super) struct Picked {
    /// The way there.
    pub(super) slot: Slot,
    /// The call, counted from now on.
    pub(super) call: Call,
}

/// What a call sees: never changed, only replaced.
#[derive(Debug, Default)]
struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    ready: Vec<Arc<Endpoint>>,
}

impl Route {
    /// A route without endpoints.
    pub fn new(plugin: PluginName, settings: RouteSettings) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            max_message: settings.max_message,
            balancer: Balancer::new(settings.policy),
            endpoints: ArcSwap::default(),
            wake: ArcSwapOption::empty(),
            changing: Mutex::new(()),
        })
    }

    /// Whose endpoints these are.
    pub fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// How calls are spread.
    pub fn policy(&self) -> Policy {
        self.balancer.policy()
    }

    /// Largest message in bytes.
    pub fn max_message(&self) -> u64 {
        self.max_message
    }

    /// Every endpoint, by ordinal, then the newest first.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.load().all.clone()
    }

    /// Whether any endpoint may be picked now.
    pub fn is_ready(&self) -> bool {
        !self.endpoints.load().ready.is_empty()
    }

    /// Adds an endpoint, with the availability it has.
    pub fn insert(&self, endpoint: Arc<Endpoint>) {
        self.change(|all| all.push(endpoint));
    }

    /// Forgets an endpoint. Calls on it go on to their end.
    pub fn remove(&self, id: &InstanceId) {
        self.change(|all| {
            for endpoint in all.iter().filter(|endpoint| endpoint.id() == id) {
                endpoint.store_availability(Availability::Gone);
            }
            all.retain(|endpoint| endpoint.id() != id);
        });
    }

    /// Says whether an endpoint may be picked from now on.
    pub fn set_availability(&self, endpoint: &Endpoint, availability: Availability) {
        self.change(|_| endpoint.store_availability(availability));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Endpoint>>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.endpoints.load().all.clone();
        change(&mut all);
        all.sort_by_key(|endpoint| (endpoint.name().ordinal(), std::cmp::Reverse(endpoint.epoch())));
        let ready =
            all.iter().filter(|endpoint| endpoint.availability() == Availability::Ready).cloned().collect();
        self.endpoints.store(Arc::new(Endpoints { all, ready }));
    }

    /// Has `wake` called whenever a call finds no endpoint that is ready. It must not wait, and is called often while
    /// there is none. Replaces what was given before.
    pub fn on_wanted(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.wake.store(Some(Arc::new(Wake(wake))));
    }

    /// Picks an endpoint for one call, and a way to send it there. `pinned` is the name or the id of the
    /// instance that the caller insists on.
    pub(super) fn pick(&self, pinned: Option<&str>) -> Result<Picked, RouteError> {
        let endpoints = self.endpoints.load();
        if let Some(pinned) = pinned {
            let endpoint = self.pinned(&endpoints, pinned)?;
            let slot = endpoint.lane().slot().ok_or_else(|| RouteError::not_connected(endpoint))?;
            return Ok(Picked { slot, call: endpoint.begin() });
        }
        let picked = self.balancer.pick(&endpoints.ready).ok_or_else(|| self.nothing_ready(&endpoints))?;
        if let Some(slot) = picked.lane().slot() {
            return Ok(Picked { slot, call: picked.begin() });
        }
        // Its connection is gone and its owner has not noticed yet: nothing was sent, so any other will do.
        let others = endpoints.ready.iter();
        let other = others.filter_map(|endpoint| endpoint.lane().slot().map(|slot| (endpoint, slot))).next();
        let (endpoint, slot) = other.ok_or_else(|| RouteError::not_connected(picked))?;
        Ok(Picked { slot, call: endpoint.begin() })
    }

    /// Connects again to an endpoint that should have a connection and has none: its server may have asked for
    /// a new one (GOAWAY) without being any less ready.
    pub(super) async fn reconnect(&self, pinned: Option<&str>) {
        let endpoints = self.endpoints.load_full();
        let endpoint = match pinned {
            Some(pinned) => self.pinned(&endpoints, pinned).ok(),
            None => self.balancer.pick(&endpoints.ready),
        };
        if let Some(endpoint) = endpoint {
            endpoint.lane().reconnect().await;
        }
    }

    fn pinned<'a>(&self, endpoints: &'a Endpoints, pinned: &str) -> Result<&'a Arc<Endpoint>, RouteError> {
        let named = |endpoint: &&Arc<Endpoint>| {
            endpoint.name().as_str() == pinned || endpoint.id().as_str() == pinned
        };
        // Draining instances still answer those who insist on them; the ready one of a name comes first.
        let found = endpoints.ready.iter().find(named).or_else(|| endpoints.all.iter().find(named));
        match found.map(|endpoint| (endpoint, endpoint.availability())) {
            Some((endpoint, Availability::Ready | Availability::Draining)) => Ok(endpoint),
            Some((endpoint, availability)) => Err(RouteError::pinned(endpoint, &availability)),
            None => Err(RouteError::no_instance(&self.plugin, pinned)),
        }
    }

    fn nothing_ready(&self, endpoints: &Endpoints) -> RouteError {
        if let Some(wake) = &*self.wake.load() {
            (wake.0)();
        }
        let states = endpoints.all.iter().map(|e| format!("{} is {}", e.name(), e.availability())).collect();
        RouteError::nothing_ready(&self.plugin, states)
    }
}
