//! One plugin and what can be done with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plugmesh::admin::v1::InstanceState;
use tokio::sync::{Mutex, Semaphore, oneshot};

use super::board::{PluginStatus, Stage};
use super::failure::StartFailure;
use super::instance_task::{InstanceTask, Origin};
use super::{LoadError, Mesh};
use crate::build::build;
use crate::config::{Balance, BuildConfig, Endpoint, PluginConfig, Source, missing_tools};
use crate::name::PluginName;
use crate::route::{Availability, Policy, Route, RouteSettings};

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
    tasks: BTreeMap<u32, InstanceTask>,
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
        let state = State { route: route(&config), config: config.clone(), tasks: BTreeMap::new() };
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
        if !state.tasks.is_empty() {
            state.tasks.values().for_each(InstanceTask::start_over);
            return Ok(());
        }
        let config = state.config.clone();
        let tasks = self.launch(&config, &state.route).await?;
        state.tasks = tasks;
        Ok(())
    }

    /// Drains and stops every instance; calls in flight may go on for `grace`, or for the plugin's own drain
    /// timeout when that is less. It stays on the board.
    pub async fn stop(&self, grace: Duration) {
        let mut state = self.0.state.lock().await;
        let grace = grace.min(state.config.drain_timeout);
        self.stage(Stage::Draining);
        stop_all(std::mem::take(&mut state.tasks), grace).await;
        self.0.mesh.board().update(&self.0.name, |status| {
            status.stage = Stage::Disabled;
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
        for task in state.tasks.values() {
            task.unpublish();
        }
        self.0.mesh.board().update(&self.0.name, |status| {
            status.config = config.clone();
            status.instances.clear();
        });
        let new_route = route(&config);
        // Endpoints move route by route: until the new one has any, the router still points at the old one.
        match self.launch(&config, &new_route).await {
            Ok(tasks) => {
                let old = std::mem::replace(&mut state.tasks, tasks);
                state.config = config;
                state.route = new_route;
                stop_all(old, old_config.drain_timeout).await;
                Ok(())
            }
            Err(error) => {
                for task in state.tasks.values() {
                    task.publish();
                }
                if let Some(before) = before {
                    self.0.mesh.router().insert(state.route.clone(), before.services.iter().cloned());
                    self.0.mesh.board().insert(PluginStatus::clone(&before));
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
        let ordinal = (0..).find(|ordinal| !state.tasks.contains_key(ordinal)).unwrap_or(u32::MAX);
        self.stage(Stage::Running);
        let (task, first) = self.spawn(&state.config, &state.route, ordinal, Origin::Remote(endpoint));
        match first.await {
            Ok(Ok(())) => {
                state.tasks.insert(ordinal, task);
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

    async fn launch(
        &self,
        config: &Arc<PluginConfig>,
        route: &Arc<Route>,
    ) -> Result<BTreeMap<u32, InstanceTask>, LoadError> {
        let origins = self.prepare(config).await?;
        let wanted = origins.len() as u32;
        self.0.mesh.board().update(&self.0.name, |status| {
            status.stage = Stage::Running;
            status.wanted = wanted;
        });
        let (mut tasks, mut firsts) = (BTreeMap::new(), Vec::new());
        for (ordinal, origin) in (0..).zip(origins) {
            let (task, first) = self.spawn(config, route, ordinal, origin);
            tasks.insert(ordinal, task);
            firsts.push(first);
        }
        let mut first_failure = None;
        let mut started = firsts.is_empty();
        for first in firsts {
            match first.await {
                Ok(Ok(())) => started = true,
                failed => first_failure = first_failure.or(Some(failure(failed))),
            }
        }
        match first_failure {
            Some(failure) if !started => {
                for task in tasks.values() {
                    task.unpublish();
                }
                stop_all(tasks, Duration::ZERO).await;
                self.0.mesh.board().update(&self.0.name, |status| {
                    status.stage = Stage::Failed(failure.to_string());
                    status.instances.clear();
                });
                Err(LoadError::NotStarted { plugin: self.0.name.clone(), failure })
            }
            Some(failure) => {
                let plugin = &self.0.name;
                tracing::warn!(%plugin, "not every instance started, it is tried again: {failure}");
                Ok(tasks)
            }
            None => Ok(tasks),
        }
    }

    /// What the instances come from, once it is there.
    async fn prepare(&self, config: &Arc<PluginConfig>) -> Result<Vec<Origin>, LoadError> {
        let missing = missing_tools(&config.needs, &self.0.mesh.path());
        if !missing.is_empty() {
            let why = format!("{} not found on PATH; install it to run this plugin", missing.join(", "));
            self.stage(Stage::Skipped(why.clone()));
            return Err(LoadError::Skipped { plugin: self.0.name.clone(), why });
        }
        Ok(match &config.source {
            Source::Process(source) => {
                if let Some(build) = &source.build {
                    self.build(build).await?;
                }
                vec![Origin::Process(source.clone()); source.instances.get() as usize]
            }
            Source::Remote(remote) => remote.endpoints.iter().cloned().map(Origin::Remote).collect(),
            Source::InProcess => Vec::new(),
        })
    }

    async fn build(&self, config: &BuildConfig) -> Result<(), LoadError> {
        let plugin = self.clone();
        let show = move |line: &str| plugin.stage(Stage::Building(line.to_owned()));
        build(config, self.0.mesh.launcher(), show).await.map(drop).map_err(|error| {
            self.stage(Stage::Failed(error.to_string()));
            LoadError::Build { plugin: self.0.name.clone(), error: Arc::new(error) }
        })
    }

    fn spawn(
        &self,
        config: &Arc<PluginConfig>,
        route: &Arc<Route>,
        ordinal: u32,
        origin: Origin,
    ) -> (InstanceTask, oneshot::Receiver<Result<(), StartFailure>>) {
        let (tell, first) = oneshot::channel();
        let task = InstanceTask::spawn(
            &self.0.mesh,
            config.clone(),
            route.clone(),
            ordinal,
            origin,
            self.0.starts.clone(),
            tell,
        );
        (task, first)
    }

    fn stage(&self, stage: Stage) {
        self.0.mesh.board().update(&self.0.name, |status| status.stage = stage);
    }
}

fn route(config: &PluginConfig) -> Arc<Route> {
    let policy = match config.balance {
        Balance::RoundRobin => Policy::RoundRobin,
        Balance::LeastRequest => Policy::LeastRequest,
    };
    Route::new(config.name.clone(), RouteSettings { policy, max_message: config.max_message_size.as_u64() })
}

async fn stop_all(tasks: BTreeMap<u32, InstanceTask>, grace: Duration) {
    let stops = tasks.into_values().map(|task| task.stop(grace));
    futures_util::future::join_all(stops).await;
}

fn failure(first: Result<Result<(), StartFailure>, oneshot::error::RecvError>) -> Arc<StartFailure> {
    Arc::new(match first {
        Ok(Err(failure)) => failure,
        // The task went without a word: the host is shutting down.
        Ok(Ok(())) | Err(_) => super::StartError::Stopped.into(),
    })
}
