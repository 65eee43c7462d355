//! One plugin and what can be done with it.
//!
//! `launch`: from a configuration to instances. `resize`: more or fewer of them.

mod launch;
mod resize;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use plugmesh::admin::v1::InstanceState;
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::board::{PluginStatus, Stage};
use super::failure::StartFailure;
use super::instance_task::{InstanceTask, Origin};
use super::pulse::Listening;
use super::scale::Scaling;
use super::{LoadError, Mesh};
use crate::config::{Endpoint, PluginConfig};
use crate::name::PluginName;
use crate::route::{Availability, Route, RouteSettings};

/// Instances of one plugin that start at the same time. A start takes far more memory than a life of waiting, and a
/// remote plugin is not to meet all its connections at once; more in parallel would not be faster, since the
/// host starts instances on one thread.
const STARTS: usize = 16;

/// One plugin. Clones share it; its operations wait for one another.
#[derive(Clone, Debug)]
pub struct Plugin(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    mesh: Mesh,
    name: PluginName,
    state: Mutex<State>,
    starts: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    config: Arc<PluginConfig>,
    route: Arc<Route>,
    instances: Instances,
    /// Those that a smaller number has no place for, while they finish what is in flight.
    departing: Departing,
}

/// What runs of a plugin.
#[derive(Debug, Default)]
struct Instances {
    tasks: BTreeMap<u32, InstanceTask>,
    /// When their number follows the load.
    scaling: Option<Scaled>,
}

/// What lets the number follow the load, for as long as it is kept.
#[derive(Debug)]
struct Scaled {
    scaling: Arc<Scaling>,
    /// Where more of them come from.
    origin: Origin,
    /// Ordinals of those that it is about; others were attached.
    ordinals: BTreeSet<u32>,
    _listening: Listening,
}

/// Instances that are on their way out.
#[derive(Debug, Default)]
struct Departing {
    tasks: JoinSet<()>,
    /// Whether each is on the board, until another one takes its ordinal.
    published: BTreeMap<u32, Arc<AtomicBool>>,
}

impl Plugin {
    /// A plugin that does nothing yet.
    pub(super) fn new(mesh: &Mesh, config: PluginConfig) -> Self {
        let config = Arc::new(config);
        let stage = match config.enabled {
            true => Stage::Running,
            false => Stage::Disabled,
        };
        mesh.board().insert(PluginStatus::new(config.clone(), stage));
        let route = route(&config);
        if config.enabled {
            expect(mesh, &config, &route);
        }
        let state = State {
            route,
            config: config.clone(),
            instances: Instances::default(),
            departing: Departing::default(),
        };
        let (mesh, name) = (mesh.clone(), config.name.clone());
        Self(Arc::new(Shared {
            mesh,
            name,
            state: Mutex::new(state),
            starts: Arc::new(Semaphore::new(STARTS)),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &PluginName {
        &self.0.name
    }

    /// Builds it if need be, starts its instances, and returns when the first starts have gone well or wrong. It is
    /// started when at least one of them went well; the others are tried again. Of one that runs, instances that
    /// wait to be started again are started at once.
    ///
    /// # Errors
    /// No instance started; none is left running then.
    pub async fn start(&self) -> Result<(), LoadError> {
        let mut state = self.0.state.lock().await;
        let tasks = &state.instances.tasks;
        if !tasks.is_empty() && !state.instances.is_asleep() {
            tasks.values().for_each(InstanceTask::start_over);
            return Ok(());
        }
        let config = state.config.clone();
        expect(&self.0.mesh, &config, &state.route);
        // Warm ones of a plugin that sleeps make room for those that start.
        std::mem::take(&mut state.instances).stop(config.drain_timeout).await;
        state.instances = self.launch(&config, &state.route).await?;
        Ok(())
    }

    /// Drains and stops every instance; calls in flight may go on for `grace`, or for the plugin's own drain
    /// timeout when that is less. It stays on the board.
    pub async fn stop(&self, grace: Duration) {
        let mut state = self.0.state.lock().await;
        let grace = grace.min(state.config.drain_timeout);
        self.stage(Stage::Draining);
        let (instances, departing) =
            (std::mem::take(&mut state.instances), std::mem::take(&mut state.departing));
        tokio::join!(instances.stop(grace), departing.end(grace));
        self.0.mesh.board().update(&self.0.name, |status| {
            status.stage = Stage::Disabled;
            status.wanted = 0;
            status.instances.clear();
        });
    }

    /// Replaces the instances by those of `config`, which serve before the old ones go.
    ///
    /// # Errors
    /// No new instance started; the old ones serve on.
    pub async fn replace(&self, config: PluginConfig) -> Result<(), LoadError> {
        let mut state = self.0.state.lock().await;
        let (config, old_config) = (Arc::new(config), state.config.clone());
        let before = self.0.mesh.board().get(&self.0.name);
        state.instances.tasks.values().for_each(InstanceTask::unpublish);
        state.departing.unpublish();
        self.0.mesh.board().update(&self.0.name, |status| {
            status.config = config.clone();
            status.instances.clear();
        });
        let new_route = route(&config);
        // Endpoints move route by route: until the new one has any, the router still points at the old one.
        match self.launch(&config, &new_route).await {
            Ok(instances) => {
                let old = std::mem::replace(&mut state.instances, instances);
                state.config = config;
                state.route = new_route;
                old.stop(old_config.drain_timeout).await;
                Ok(())
            }
            Err(error) => {
                state.instances.tasks.values().for_each(InstanceTask::publish);
                if let Some(before) = before {
                    self.0.mesh.router().insert(state.route.clone(), before.services.iter().cloned());
                    let mut before = PluginStatus::clone(&before);
                    before.instances.retain(|ordinal, _| state.instances.tasks.contains_key(ordinal));
                    self.0.mesh.board().insert(before);
                }
                Err(error)
            }
        }
    }

    /// Takes one more instance, at an address where somebody else runs it.
    ///
    /// # Errors
    /// It does not come up; it is forgotten then.
    pub async fn attach(&self, endpoint: Endpoint) -> Result<(), LoadError> {
        let mut state = self.0.state.lock().await;
        let ordinal = (0..).find(|ordinal| !state.instances.tasks.contains_key(ordinal)).unwrap_or(u32::MAX);
        self.stage(Stage::Running);
        state.departing.take_ordinal(ordinal);
        let origin = Origin::Remote(endpoint);
        let (task, first) = self.spawn(&state.config, &state.route, ordinal, origin, None);
        match first.await {
            Ok(Ok(())) => {
                state.instances.tasks.insert(ordinal, task);
                self.0.mesh.board().update(&self.0.name, |status| status.wanted += 1);
                Ok(())
            }
            failed => {
                task.unpublish();
                task.stop(Duration::ZERO).await;
                self.0.mesh.board().update(&self.0.name, |status| {
                    status.instances.remove(&ordinal);
                });
                Err(LoadError::NotStarted { plugin: self.0.name.clone(), failure: failure(failed) })
            }
        }
    }

    /// Stops routing to the instances that `which` accepts and waits, at most for `grace`, for what is in flight;
    /// gives the number of calls that are left. The instances keep running.
    pub async fn drain(&self, which: impl Fn(&str, &str) -> bool, grace: Duration) -> u64 {
        let route = self.0.state.lock().await.route.clone();
        let endpoints = route.endpoints();
        let chosen: Vec<_> = endpoints
            .iter()
            .filter(|endpoint| which(endpoint.name().as_str(), endpoint.id().as_str()))
            .collect();
        for endpoint in &chosen {
            route.set_availability(endpoint, Availability::Draining);
            self.0.mesh.board().update(&self.0.name, |status| {
                if let Some(instance) = status.instances.get_mut(&endpoint.name().ordinal()) {
                    instance.state = InstanceState::Draining;
                }
            });
        }
        let drained = async {
            for endpoint in &chosen {
                endpoint.drained().await;
            }
        };
        let _ = tokio::time::timeout(grace, drained).await;
        chosen.iter().map(|endpoint| endpoint.in_flight()).sum()
    }

    fn stage(&self, stage: Stage) {
        self.0.mesh.board().update(&self.0.name, |status| status.stage = stage);
    }
}

/// Routes calls to the services that the files say something of, before the plugin itself does.
fn expect(mesh: &Mesh, config: &PluginConfig, route: &Arc<Route>) {
    let targets = config.policies.targets().map(|target| target.service.clone());
    let services: BTreeSet<_> = targets.chain(config.services.iter().cloned()).collect();
    if !services.is_empty() {
        mesh.router().expect(route.clone(), services);
    }
}

fn route(config: &PluginConfig) -> Arc<Route> {
    let policies = config.policies.clone();
    Route::new(config.name.clone(), RouteSettings { policies, max_message: config.max_message_size.as_u64() })
}

impl Instances {
    /// Whether nothing of it takes calls before somebody calls.
    fn is_asleep(&self) -> bool {
        self.scaling.as_ref().is_some_and(|scaled| scaled.scaling.is_asleep())
    }

    /// Drains and stops all of them.
    async fn stop(self, grace: Duration) {
        // First, lest somebody adds one.
        drop(self.scaling);
        let stops = self.tasks.into_values().map(|task| task.stop(grace));
        futures_util::future::join_all(stops).await;
    }
}

fn failure(first: Result<Result<(), StartFailure>, oneshot::error::RecvError>) -> Arc<StartFailure> {
    Arc::new(match first {
        Ok(Err(failure)) => failure,
        // The task went without a word: the host is shutting down.
        Ok(Ok(())) | Err(_) => super::StartError::Stopped.into(),
    })
}
