//! A host, put together: configuration in, a running mesh with a gateway out.

mod builder;
mod control;
mod error;
mod listen;
mod pages;
mod sources;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plugmesh::admin::v1 as pb;
use tokio::sync::watch;

use crate::admin;
use crate::config::{Config, ConfigError, assemble, search};
use crate::event::Events;
pub use crate::event::OpenJournalError;
use crate::events::EventBus;
use crate::gateway::GatewayHandle;
use crate::gateway::reflection::Catalog;
use crate::route::Channel;
use crate::supervise::{Board, Mesh};
use crate::telemetry::{Metrics, Push, Source};
pub use builder::HostBuilder;
use control::Control;
pub use error::{HostError, Problem};
pub(crate) use sources::Offers;

/// A running host.
///
/// It lives as long as this value: dropping it kills every process that it started and closes the gateway.
/// [`Host::shutdown`] does the same in good order.
pub struct Host {
    // Dropped in this order: nobody calls in any more, then everything that runs ends.
    gateway: Option<GatewayHandle>,
    control: Control,
    events: Events,
    metrics: Arc<Source>,
    metrics_address: Option<SocketAddr>,
    push: Option<Push>,
    shared: Arc<Shared>,
}

/// What the host and those who manage it share.
pub(crate) struct Shared {
    pub(crate) mesh: Mesh,
    pub(crate) config: Config,
    pub(crate) catalog: Catalog,
    pub(crate) offers: Arc<Offers>,
    pub(crate) started: SystemTime,
    pub(crate) addresses: Vec<String>,
    pub(crate) shutdown: watch::Sender<Option<Duration>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("addresses", &self.shared.addresses).finish_non_exhaustive()
    }
}

impl Host {
    /// Begins to describe a host.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// Makes a generated client that calls into the mesh:
    /// `host.client(CalculatorServiceClient::new)`.
    pub fn client<C>(&self, make: impl FnOnce(Channel) -> C) -> C {
        make(self.channel())
    }

    /// A service that sends any gRPC call where it belongs.
    pub fn channel(&self) -> Channel {
        self.shared.mesh.router().channel()
    }

    /// The event bus, for this program: it publishes and subscribes without leaving the process.
    pub fn events(&self) -> EventBus {
        EventBus::new(self.events.clone(), &self.shared.config.name)
    }

    /// Where the gateway listens, as `unix:///path`, `https://host:port` or `http://host:port`.
    pub fn addresses(&self) -> &[String] {
        &self.shared.addresses
    }

    /// Where `telemetry.metrics.listen` serves metrics and probes, with the port that was bound.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Everything that the host counts, as it is now; as text it is what `GET /metrics` answers. Reading takes about a microsecond
    /// for each series, and calls do not notice.
    pub fn metrics(&self) -> Metrics {
        self.metrics.read()
    }

    /// What every plugin is doing now.
    pub fn board(&self) -> &Board {
        self.shared.mesh.board()
    }

    /// Every plugin as `AdminService` shows it, in the order of the names.
    pub fn plugins(&self) -> Vec<pb::Plugin> {
        admin::plugins(&self.shared)
    }

    /// How well the whole, every plugin and every instance are, and who is to blame when not all is well.
    pub fn health(&self) -> pb::GetHealthResponse {
        admin::health(&self.shared)
    }

    /// Every service as `AdminService` shows it, in the order of the names.
    pub fn services(&self) -> Vec<pb::Service> {
        admin::services(&self.shared)
    }

    /// The plugins themselves, for whoever wants to load, stop or replace some.
    pub fn mesh(&self) -> &Mesh {
        &self.shared.mesh
    }

    /// Waits until somebody asks for a shutdown through `AdminService`, and gives the grace that was asked for.
    pub async fn shutdown_requested(&self) -> Duration {
        let mut asked = self.shared.shutdown.subscribe();
        match asked.wait_for(Option::is_some).await {
            Ok(grace) => grace.unwrap_or(self.shared.config.drain_timeout),
            // The sender is in `self`.
            Err(_) => std::future::pending().await,
        }
    }

    /// Finds every plugin below `directories` and in the configuration, and starts them in the order that their
    /// requirements ask for. Gives what was found wrong: plugins that fail are left out, the others run.
    pub async fn load(&self, directories: Vec<PathBuf>) -> Vec<Problem> {
        let (mesh, config) = (self.shared.mesh.clone(), self.shared.config.clone());
        let loading = async move {
            let (assembly, mut problems) = found(&config, directories).await;
            problems.extend(assembly.problems.into_iter().map(|error| Problem::Config(Arc::new(error))));
            problems.extend(mesh.load_all(assembly.plugins).await.into_iter().map(Problem::Load));
            problems
        };
        self.control.run(loading).await.unwrap_or_default()
    }

    /// Waits until reflection and [`services`](Self::services) know what the plugins that have started say about
    /// themselves, for at most 5 s. Calls need none of it, so that starting a plugin does not wait for it.
    pub async fn described(&self) {
        self.shared.offers.complete().await;
    }

    /// Drains and stops everything: no new calls are taken, those in flight may go on for `grace`, and when this
    /// returns no process, task or socket of the host is left. What outlasts the grace is cut off.
    ///
    /// Dropping the future shuts down at once.
    pub async fn shutdown(mut self, grace: Duration) {
        let mesh = self.shared.mesh.clone();
        // Ends the streams of those who watch: they would last as long as the host.
        self.shared.shutdown.send_replace(Some(grace));
        if let Some(gateway) = self.gateway.take() {
            let plugins = self.control.run(async move { mesh.stop(grace).await });
            // Plugins that still finish calls may call each other through the gateway: both end together.
            let (_, (), stopped) = tokio::join!(plugins, self.events.drain(grace), gateway.shutdown(grace));
            if stopped.cut_off > 0 {
                tracing::warn!(connections = stopped.cut_off, "calls outlasted the grace and were cut off");
            }
        } else {
            self.control.run(async move { mesh.stop(grace).await }).await;
        }
        self.events.close().await;
        if let Some(push) = self.push.take() {
            push.finish().await;
        }
        let mesh = self.shared.mesh.clone();
        if tokio::time::timeout(LAST_TASKS, mesh.finished()).await.is_err() {
            tracing::warn!("some tasks outlasted the shutdown and were cut off");
        }
        self.control.stop();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.gateway.take());
        // Ends the tasks that look after plugins, and with them the processes.
        self.control.stop();
        // Plugins hold the mesh and the mesh holds them: without this its launcher would never end.
        self.shared.mesh.forget_plugins();
    }
}

/// How long tasks may take to notice that everything they work on is gone.
const LAST_TASKS: Duration = Duration::from_secs(1);

async fn found(config: &Config, directories: Vec<PathBuf>) -> (crate::config::Assembly, Vec<Problem>) {
    let directories: Vec<_> = config.plugins.directories.iter().cloned().chain(directories).collect();
    let config = config.clone();
    // Reading files blocks; the control runtime has one thread.
    let work = tokio::task::spawn_blocking(move || {
        let mut found = search(&directories);
        let unreadable = std::mem::take(&mut found.unreadable);
        let problems = unreadable.iter().map(|at| Problem::Unreadable(at.to_string())).collect();
        (assemble(&config, found), problems)
    });
    work.await.unwrap_or_default()
}

impl Shared {
    /// Reads the manifest at `path`, or in it, and gives the plugin that it describes.
    pub(crate) fn read_manifest(&self, path: PathBuf) -> Result<crate::config::PluginConfig, ConfigError> {
        let file = if path.is_dir() { path.join(crate::config::MANIFEST_FILE) } else { path };
        let manifest = crate::config::Manifest::load(&file)?;
        let entry = self.config.plugins.entries.get(&manifest.name);
        let options = entry.map(|entry| entry.options.clone()).unwrap_or_default();
        Ok(crate::config::PluginConfig::from_manifest(manifest, &options, &self.config))
    }
}
