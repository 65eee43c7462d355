//! What every plugin of a host shares, and the plugins themselves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use plugmesh::admin::v1::{InstanceKind, InstanceState, PluginState};
use plugmesh::plugin::v1::HostInfo;
use semver::Version;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::board::Incarnation;
use super::failure::{StartError, StartFailure};
use super::{Board, Callers, InstanceStatus, Plugin, PluginStatus, Stage};
use crate::build::BuildError;
use crate::config::dependency::{self, DependencyError};
use crate::config::{Config, PluginConfig, PluginOptions, Requirement, Source};
use crate::identity::{Authority, HostCredentials, TrustDomain};
use crate::launch::{Arrivals, Launcher, LogBuffer, RunDirectory};
use crate::name::{InstanceId, InstanceName, PluginName};
use crate::route::{Availability, Endpoint, Route, RouteSettings, Router};
use crate::transport::{Dialer, InProcess, Lane, Pool, Settings};

/// What a mesh is made of.
#[derive(Debug)]
pub struct MeshOptions {
    /// Who the host is, to its plugins.
    pub host: HostInfo,
    /// Address of the gateway, for callbacks. Empty: none.
    pub callback_address: String,
    /// Where it keeps sockets and files.
    pub run_dir: RunDirectory,
    /// What starts processes.
    pub launcher: Launcher,
    /// What notices that they listen.
    pub arrivals: Arrivals,
    /// Trust domain of the certificates it issues.
    pub trust_domain: TrustDomain,
    /// The environment that passes to plugins, before the allow-list.
    pub environment: Vec<(OsString, OsString)>,
    /// Where its tasks run.
    pub runtimes: Runtimes,
}

/// Where the tasks of a host run.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// Connections and calls.
    pub data: Handle,
    /// Supervision, logs and everything else that calls need not wait for.
    pub control: Handle,
}

/// What every plugin of a host shares, and the plugins themselves. Clones share it.
#[derive(Clone, Debug)]
pub struct Mesh(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: MeshOptions,
    router: Router,
    board: Board,
    callers: Callers,
    logs: Mutex<BTreeMap<PluginName, LogBuffer>>,
    issuer: OnceLock<Issuer>,
    epoch: AtomicU64,
    tasks: TaskTracker,
    plugins: Mutex<BTreeMap<PluginName, Plugin>>,
}

/// What certificates for this host's own plugins come from.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) authority: Authority,
    pub(super) credentials: HostCredentials,
}

/// Why a plugin is not running.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// It was not started on this machine, which is no fault.
    #[error("{plugin} was skipped: {why}")]
    Skipped {
        /// Which.
        plugin: PluginName,
        /// Why.
        why: String,
    },
    /// Its build failed.
    #[error("{plugin} was not built: {error}")]
    Build {
        /// Which.
        plugin: PluginName,
        /// Why.
        error: Arc<BuildError>,
    },
    /// No instance started.
    #[error("{plugin} did not start: {failure}")]
    NotStarted {
        /// Which.
        plugin: PluginName,
        /// Why.
        failure: Arc<StartFailure>,
    },
    /// Something that it requires is not there.
    #[error("{plugin} was not started: {why}")]
    Dependency {
        /// Which.
        plugin: PluginName,
        /// What is missing.
        why: String,
    },
    /// There is one of that name.
    #[error("there is a plugin {0} already; unload it first, or give this one another name")]
    Exists(PluginName),
}

impl Mesh {
    /// A mesh without plugins.
    pub fn new(options: MeshOptions) -> Self {
        // Epochs rise from run to run too, so that a plugin that outlives its host knows the newer one.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(Arc::new(Shared {
            options,
            router: Router::new(),
            board: Board::default(),
            callers: Callers::default(),
            logs: Mutex::default(),
            issuer: OnceLock::new(),
            epoch: AtomicU64::new(now.as_millis() as u64),
            tasks: TaskTracker::new(),
            plugins: Mutex::default(),
        }))
    }

    /// Where calls find their way.
    pub fn router(&self) -> &Router {
        &self.0.router
    }

    /// What every plugin is doing now.
    pub fn board(&self) -> &Board {
        &self.0.board
    }

    /// Which plugin is calling.
    pub fn callers(&self) -> &Callers {
        &self.0.callers
    }

    /// Who the host is.
    pub fn host(&self) -> &HostInfo {
        &self.0.options.host
    }

    /// The last lines of a plugin, kept from before its first start to its end.
    pub fn log(&self, plugin: &PluginName) -> LogBuffer {
        let mut logs = lock(&self.0.logs);
        logs.entry(plugin.clone()).or_insert_with(|| LogBuffer::new(plugin.clone())).clone()
    }

    /// A plugin by name.
    pub fn plugin(&self, name: &PluginName) -> Option<Plugin> {
        lock(&self.0.plugins).get(name).cloned()
    }

    /// Starts `configs` in the order that their requirements ask for, as many at once as it allows, and gives
    /// what went wrong: a plugin that fails is left out, the others run.
    pub async fn load_all(&self, configs: Vec<PluginConfig>) -> Vec<LoadError> {
        let plan = dependency::plan(&configs);
        let mut errors: Vec<_> = plan.problems.iter().flat_map(LoadError::dependency).collect();
        let mut plugins = BTreeMap::new();
        for config in configs {
            match self.add(config) {
                Ok(plugin) => drop(plugins.insert(plugin.name().clone(), plugin)),
                Err(error) => errors.push(error),
            }
        }
        for error in &errors {
            if let LoadError::Dependency { plugin, why } = error {
                self.board().update(plugin, |status| status.stage = Stage::Failed(why.clone()));
            }
        }
        for level in &plan.levels {
            let starts =
                level.iter().filter_map(|name| plugins.get(name)).map(|plugin| self.start_after(plugin));
            errors.extend(futures_util::future::join_all(starts).await.into_iter().filter_map(Result::err));
        }
        errors
    }

    /// Adds and starts one plugin.
    ///
    /// # Errors
    /// It does not start; it stays on the board, with the reason.
    pub async fn load(&self, config: PluginConfig) -> Result<(), LoadError> {
        let plugin = self.add(config)?;
        self.start(&plugin).await
    }

    /// Adds services of this process as a plugin that is ready at once.
    pub fn insert_in_process(&self, name: PluginName, version: Version, services: InProcess, host: &Config) {
        let options = PluginOptions { version: Some(version), ..PluginOptions::default() };
        let config = Arc::new(PluginConfig::new(name.clone(), Source::InProcess, options, host));
        let names: Vec<_> = services.names().map(str::to_owned).collect();
        let instance = InstanceName::new(name.clone(), 0);
        let (id, epoch) = (InstanceId::random(), self.next_epoch());
        let lane = Lane::InProcess(Arc::new(services));
        let endpoint = Endpoint::new(instance.clone(), id.clone(), epoch, lane);
        let route = Route::new(name, RouteSettings::default());
        route.insert(endpoint.clone());
        route.set_availability(&endpoint, Availability::Ready);
        self.router().insert(route, names.iter().cloned());
        let incarnation = Incarnation {
            id,
            epoch,
            address: "in-process".to_owned(),
            pid: None,
            ready: Some((SystemTime::now(), Duration::ZERO)),
            endpoint: Some(endpoint),
        };
        let mut status = PluginStatus::new(config, Stage::Running);
        status.services = names;
        status.instances.insert(
            0,
            InstanceStatus {
                name: instance,
                kind: InstanceKind::InProcess,
                state: InstanceState::Ready,
                message: String::new(),
                incarnation: Some(incarnation),
                restarts: 0,
            },
        );
        self.board().insert(status);
    }

    /// Drains and stops a plugin and forgets it.
    ///
    /// # Errors
    /// Another plugin that runs requires it.
    pub async fn unload(&self, name: &PluginName, grace: Duration) -> Result<(), LoadError> {
        let board = self.board().snapshot();
        let requires = |status: &&Arc<PluginStatus>| {
            status.stage == Stage::Running
                && status
                    .config
                    .requires
                    .iter()
                    .any(|required| required.plugin == *name && !required.optional)
        };
        if let Some(dependent) = board.values().find(requires) {
            let why = format!("{} requires it; unload that one first", dependent.config.name);
            return Err(LoadError::Dependency { plugin: name.clone(), why });
        }
        let plugin = lock(&self.0.plugins).remove(name);
        if let Some(plugin) = plugin {
            plugin.stop(grace).await;
        }
        self.router().remove(name);
        self.board().remove(name);
        lock(&self.0.logs).remove(name);
        Ok(())
    }

    /// Drains and stops every plugin, those first that others do not need. Calls in flight may go on for `grace`.
    pub async fn stop(&self, grace: Duration) {
        let deadline = tokio::time::Instant::now() + grace;
        let plugins = std::mem::take(&mut *lock(&self.0.plugins));
        let configs: Vec<_> =
            self.board().snapshot().values().map(|status| PluginConfig::clone(&status.config)).collect();
        let mut levels = dependency::plan(&configs).levels;
        levels.reverse();
        // What is in no level did not start, but may have been attached to since.
        let planned: Vec<_> = levels.iter().flatten().cloned().collect();
        levels.insert(0, plugins.keys().filter(|name| !planned.contains(name)).cloned().collect());
        for level in levels {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let stops = level.iter().filter_map(|name| plugins.get(name)).map(|plugin| plugin.stop(left));
            futures_util::future::join_all(stops).await;
        }
        self.0.tasks.close();
    }

    /// Waits until every task of the mesh has ended, after [`Self::stop`].
    pub async fn finished(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Runs an operation beside the calls, to its end, even when whoever asked for it goes away. `None` when the
    /// host has stopped.
    pub async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.0.tasks.spawn_on(operation, &self.0.options.runtimes.control).await.ok()
    }

    fn add(&self, config: PluginConfig) -> Result<Plugin, LoadError> {
        let mut plugins = lock(&self.0.plugins);
        match plugins.contains_key(&config.name) || self.board().get(&config.name).is_some() {
            true => Err(LoadError::Exists(config.name)),
            false => {
                let plugin = Plugin::new(self, config);
                plugins.insert(plugin.name().clone(), plugin.clone());
                Ok(plugin)
            }
        }
    }

    /// Starts a plugin of a set, unless one that it requires did not start.
    async fn start_after(&self, plugin: &Plugin) -> Result<(), LoadError> {
        let board = self.board().snapshot();
        let Some(status) = board.get(plugin.name()) else { return Ok(()) };
        let is_down = |required: &&Requirement| {
            let running = |status: &Arc<PluginStatus>| {
                matches!(status.state(), PluginState::Ready | PluginState::Degraded)
            };
            !required.optional && !board.get(&required.plugin).is_some_and(running)
        };
        if let Some(required) = status.config.requires.iter().find(is_down) {
            let why = format!("it requires {}, which is not running", required.plugin);
            self.board().update(plugin.name(), |status| status.stage = Stage::Failed(why.clone()));
            return Err(LoadError::Dependency { plugin: plugin.name().clone(), why });
        }
        self.start(plugin).await
    }

    async fn start(&self, plugin: &Plugin) -> Result<(), LoadError> {
        match self.board().get(plugin.name()).map(|status| status.stage.clone()) {
            Some(Stage::Disabled) => Ok(()),
            _ => plugin.start().await,
        }
    }

    pub(super) fn run_dir(&self) -> &RunDirectory {
        &self.0.options.run_dir
    }

    pub(super) fn launcher(&self) -> &Launcher {
        &self.0.options.launcher
    }

    pub(super) fn arrivals(&self) -> &Arrivals {
        &self.0.options.arrivals
    }

    pub(super) fn environment(&self) -> &[(OsString, OsString)] {
        &self.0.options.environment
    }

    pub(super) fn path(&self) -> OsString {
        let path = self.environment().iter().find(|(name, _)| name == "PATH");
        path.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    pub(super) fn callback_address(&self) -> &str {
        &self.0.options.callback_address
    }

    /// Made when the first plugin wants TLS: most hosts never need it.
    pub(super) fn issuer(&self) -> Result<&Issuer, StartError> {
        if let Some(issuer) = self.0.issuer.get() {
            return Ok(issuer);
        }
        let authority = Authority::generate(self.0.options.trust_domain.clone())?;
        let host = authority.issue_host(&self.host().id)?;
        let credentials = HostCredentials::new(&authority, &host)?;
        // Of two that are made at once one wins, and nobody has used the other.
        Ok(self.0.issuer.get_or_init(|| Issuer { authority, credentials }))
    }

    pub(super) fn next_epoch(&self) -> u64 {
        self.0.epoch.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn pool(&self, dialer: Dialer, max_connections: u32) -> Pool {
        let (runtime, tasks) = (self.0.options.runtimes.data.clone(), self.0.tasks.clone());
        Pool::new(dialer, max_connections as usize, Settings::default(), runtime, tasks)
    }

    /// Runs a task of the mesh, beside the calls.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.0.tasks.spawn_on(task, &self.0.options.runtimes.control).abort_handle()
    }
}

impl LoadError {
    /// One for each plugin that the problem keeps from starting.
    fn dependency(problem: &DependencyError) -> Vec<Self> {
        let plugins = match problem {
            DependencyError::Missing { plugin, .. }
            | DependencyError::Disabled { plugin, .. }
            | DependencyError::Version { plugin, .. }
            | DependencyError::Blocked { plugin, .. } => std::slice::from_ref(plugin),
            DependencyError::Cycle(cycle) => cycle.members(),
        };
        let why = problem.to_string();
        plugins.iter().map(|plugin| Self::Dependency { plugin: plugin.clone(), why: why.clone() }).collect()
    }

    /// The plugin that is not running.
    pub fn plugin(&self) -> &PluginName {
        match self {
            Self::Skipped { plugin, .. }
            | Self::Build { plugin, .. }
            | Self::NotStarted { plugin, .. }
            | Self::Dependency { plugin, .. }
            | Self::Exists(plugin) => plugin,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
