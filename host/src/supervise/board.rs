//! What every plugin is doing now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plugmesh::admin::v1::{InstanceKind, InstanceState, PluginState};
use semver::Version;
use tokio::sync::watch;

use super::Liveness;
use crate::config::PluginConfig;
use crate::instance::{Description, Introduction};
use crate::name::{InstanceId, InstanceName, PluginName};
use crate::route::Endpoint;

type Plugins = BTreeMap<PluginName, Arc<PluginStatus>>;

/// The state of all plugins. Whoever looks gets a snapshot; whoever follows gets the newest one, and never
/// a queue of old ones. Clones share the board.
#[derive(Clone, Debug)]
pub struct Board(Arc<watch::Sender<Arc<Plugins>>>);

/// What is known of one plugin.
#[derive(Clone, Debug)]
pub struct PluginStatus {
    /// What it was loaded from.
    pub config: Arc<PluginConfig>,
    /// What is being done with it.
    pub stage: Stage,
    /// What it said of itself, the last time it did.
    pub introduction: Option<Arc<Introduction>>,
    /// Services that are routed to it.
    pub services: Vec<String>,
    /// Descriptors of them, once known.
    pub description: Option<Arc<Description>>,
    /// Instances that should take calls now.
    pub wanted: u32,
    /// Its instances by ordinal.
    pub instances: BTreeMap<u32, InstanceStatus>,
}

/// What is being done with a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its build command runs; the text is the last line that it wrote.
    Building(String),
    /// Its instances are kept running.
    Running,
    /// It finishes what is in flight, for good.
    Draining,
    /// It could not be started, for the reason given.
    Failed(String),
    /// Nobody has called it for a while, so nothing of it takes calls; the next call starts it.
    Idle,
    /// Switched off.
    Disabled,
    /// Not run on this machine, for the reason given, which is no fault.
    Skipped(String),
}

/// What is known of one instance.
#[derive(Clone, Debug)]
pub struct InstanceStatus {
    /// `<plugin>-<ordinal>`.
    pub name: InstanceName,
    /// How it is reached.
    pub kind: InstanceKind,
    /// State.
    pub state: InstanceState,
    /// Why, for people.
    pub message: String,
    /// The present incarnation; `None` before the first.
    pub incarnation: Option<Incarnation>,
    /// Times it was started again.
    pub restarts: u32,
}

/// One incarnation of an instance.
#[derive(Clone, Debug)]
pub struct Incarnation {
    /// Id.
    pub id: InstanceId,
    /// Rises with each.
    pub epoch: u64,
    /// Where it listens, for people and tools.
    pub address: String,
    /// Process id of a child.
    pub pid: Option<u32>,
    /// When it became ready, and how long that took.
    pub ready: Option<(SystemTime, Duration)>,
    /// As the balancer sees it.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Whether it still answers; `None` before it is up, and for services of the program itself.
    pub liveness: Option<Arc<Liveness>>,
}

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(watch::channel(Arc::default()).0))
    }
}

impl Board {
    /// Everything as it is now.
    pub fn snapshot(&self) -> Arc<Plugins> {
        self.0.borrow().clone()
    }

    /// One plugin as it is now.
    pub fn get(&self, name: &PluginName) -> Option<Arc<PluginStatus>> {
        self.0.borrow().get(name).cloned()
    }

    /// Follows the board: each wait ends with the newest snapshot.
    pub fn follow(&self) -> watch::Receiver<Arc<Plugins>> {
        self.0.subscribe()
    }

    pub(super) fn insert(&self, status: PluginStatus) {
        self.change(|plugins| {
            plugins.insert(status.config.name.clone(), Arc::new(status));
        });
    }

    pub(super) fn remove(&self, name: &PluginName) {
        self.change(|plugins| {
            plugins.remove(name);
        });
    }

    pub(super) fn update(&self, name: &PluginName, change: impl FnOnce(&mut PluginStatus)) {
        self.change(|plugins| {
            if let Some(status) = plugins.get_mut(name) {
                change(Arc::make_mut(status));
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Plugins)) {
        self.0.send_modify(|plugins| change(Arc::make_mut(plugins)));
    }
}

impl PluginStatus {
    /// A plugin of which nothing is known but its configuration.
    pub fn new(config: Arc<PluginConfig>, stage: Stage) -> Self {
        let services = config.services.clone();
        Self {
            config,
            stage,
            introduction: None,
            services,
            description: None,
            wanted: 0,
            instances: BTreeMap::new(),
        }
    }

    /// Its version: what it says itself, else what its manifest says.
    pub fn version(&self) -> Option<&Version> {
        self.introduction
            .as_ref()
            .and_then(|introduction| introduction.version.as_ref())
            .or(self.config.version.as_ref())
    }

    /// State of the whole, as operators see it.
    pub fn state(&self) -> PluginState {
        match &self.stage {
            Stage::Building(_) => PluginState::Building,
            Stage::Draining => PluginState::Draining,
            Stage::Idle => PluginState::Idle,
            Stage::Failed(_) => PluginState::Failed,
            Stage::Disabled => PluginState::Disabled,
            Stage::Skipped(_) => PluginState::Skipped,
            Stage::Running => self.running_state(),
        }
    }

    fn running_state(&self) -> PluginState {
        let count = |state| self.instances.values().filter(|instance| instance.state == state).count();
        let (ready, starting) = (self.ready(), count(InstanceState::Starting));
        // Those that the load adds or takes away are on their way, and those that are kept warm have none to go.
        let others = match self.config.scale {
            Some(_) => {
                let added = |instance: &&InstanceStatus| {
                    instance.state == InstanceState::Starting && instance.restarts == 0
                };
                count(InstanceState::Warm)
                    + count(InstanceState::Draining)
                    + count(InstanceState::Stopped)
                    + self.instances.values().filter(added).count()
            }
            None => 0,
        };
        match ready {
            1.. if ready + others >= self.instances.len() => PluginState::Ready,
            0 if starting == self.instances.len() => PluginState::Starting,
            0 if count(InstanceState::CrashLoop) > 0 => PluginState::CrashLoop,
            0 => PluginState::Unavailable,
            _ => PluginState::Degraded,
        }
    }

    /// Instances that take calls now.
    pub fn ready(&self) -> usize {
        self.instances.values().filter(|instance| instance.state == InstanceState::Ready).count()
    }

    /// Why it is in that state; empty when there is nothing to say.
    pub fn message(&self) -> String {
        match &self.stage {
            Stage::Building(text) | Stage::Failed(text) | Stage::Skipped(text) => text.clone(),
            Stage::Running | Stage::Draining | Stage::Idle | Stage::Disabled => {
                let troubled = self.instances.values().find(|instance| !instance.message.is_empty());
                troubled
                    .map(|instance| format!("{}: {}", instance.name, instance.message))
                    .unwrap_or_default()
            }
        }
    }
}
