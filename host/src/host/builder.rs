//! How a host is described.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Request, Response};
use opentelemetry::metrics::MeterProvider;
use plugmesh::plugin::v1::HostInfo;
use semver::Version;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tonic::server::NamedService;
use tower_service::Service;

use super::control::Control;
use super::listen::{Listening, bind};
use super::pages::HostPages;
use super::sources::{Offers, follow};
use super::{Host, HostError, Problem, Shared};
use crate::admin;
use crate::config::defaults::{MIN_STARTS, STARTS_PER_CORE};
use crate::config::{Config, PluginConfig};
use crate::event::Events;
use crate::gateway::reflection::Catalog;
use crate::gateway::{ServerCalls, Services};
use crate::launch::{Arrivals, BaseSearch, Launcher, LauncherOptions, RunDirectory};
use crate::name::PluginName;
use crate::supervise::{Mesh, MeshOptions, Runtimes};
use crate::telemetry::{self, Collector, Push, Source};
use crate::transport::InProcess;

/// Describes a host. Nothing happens before [`start`](Self::start) or [`open`](Self::open).
#[derive(Debug, Default)]
#[must_use = "a host is described here and started by `start`"]
pub struct HostBuilder {
    config: Config,
    directories: Vec<PathBuf>,
    plugins: Vec<PluginConfig>,
    services: InProcess,
    environment: Option<Vec<(OsString, OsString)>>,
    adopts_orphans: bool,
    collector: Option<Collector>,
    meter_provider: Option<Provider>,
}

/// A meter provider of the program.
struct Provider(Box<dyn MeterProvider + Send + Sync>);

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeterProvider")
    }
}

impl HostBuilder {
    /// Everything that `plugmesh.yaml` can say. Default: an empty file, with a gateway on a Unix socket in
    /// the private run directory.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Also runs every plugin whose `plugin.yaml` is below `directory`.
    pub fn plugins_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directories.push(directory.into());
        self
    }

    /// Also runs this plugin.
    pub fn plugin(mut self, plugin: PluginConfig) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Offers a service of this program to its plugins, and to whoever calls the gateway, under the host's
    /// own name as the plugin. Calls from this program to it do not leave the process.
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<tonic::body::Body>, Response = Response<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.services = self.services.with(service);
        self
    }

    /// The environment from which plugins get what is on the allow-list. Default: that of this process.
    pub fn environment(mut self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment = Some(environment.into_iter().collect());
        self
    }

    /// Sends metrics to this collector, instead of to one of its own that `telemetry.otlp` describes: for who sends
    /// [traces](crate::telemetry::Traces) there too, which then are of the same service instance.
    pub fn collector(mut self, collector: Collector) -> Self {
        self.collector = Some(collector);
        self
    }

    /// Makes observable instruments of everything that the host counts, for the readers of a meter provider that the program has
    /// anyway. They are read when it collects, and end with the host. Histograms appear as the counters `NAME.bucket`
    /// (with the bound as `le`), `NAME.count` and `NAME.sum`, since OpenTelemetry has no observable histogram.
    pub fn meter_provider(mut self, provider: impl MeterProvider + Send + Sync + 'static) -> Self {
        self.meter_provider = Some(Provider(Box::new(provider)));
        self
    }

    /// This process is a child subreaper: collect the orphans that it adopts. Default: no. See
    /// [`LauncherOptions::adopts_orphans`].
    pub fn adopts_orphans(mut self, adopts: bool) -> Self {
        self.adopts_orphans = adopts;
        self
    }

    /// Starts the host and its plugins, and returns when each has started or failed. What failed is logged; see
    /// [`Self::start_with_problems`].
    ///
    /// # Errors
    /// There is no host. A plugin that fails is no reason.
    pub async fn start(self) -> Result<Host, HostError> {
        let (host, problems) = self.start_with_problems().await?;
        for problem in problems {
            tracing::error!("{problem}");
        }
        Ok(host)
    }

    /// As [`Self::start`], and gives what is wrong with plugins that do not run.
    ///
    /// # Errors
    /// There is no host.
    pub async fn start_with_problems(mut self) -> Result<(Host, Vec<Problem>), HostError> {
        let directories = std::mem::take(&mut self.directories);
        let plugins = std::mem::take(&mut self.plugins);
        let host = self.open().await?;
        let mut problems = host.load(directories).await;
        let mesh = host.mesh().clone();
        let loaded = host.control.run(async move { mesh.load_all(plugins).await }).await;
        problems.extend(loaded.unwrap_or_default().into_iter().map(Problem::Load));
        Ok((host, problems))
    }

    /// Starts the host without plugins: those of the configuration start with [`Host::load`].
    ///
    /// Calls run on the current runtime; everything else has a thread of its own.
    ///
    /// # Errors
    /// There is no host.
    pub async fn open(self) -> Result<Host, HostError> {
        let system = |what| move |source| HostError::System { what, source };
        let collector = match self.collector {
            Some(collector) => Some(collector),
            None => Collector::new(&self.config.telemetry)?,
        };
        // Early, since the launcher forks its watchdog from this process.
        let launcher = Launcher::start(LauncherOptions::default().adopts_orphans(self.adopts_orphans))?;
        let search = match &self.config.run_dir {
            Some(base) => BaseSearch::only(base),
            None => BaseSearch::new(|name| std::env::var_os(name)),
        };
        let run_dir = RunDirectory::create(&search)?;
        let events = Events::open(&self.config.events, &Handle::current()).await?;
        let control = Control::start().map_err(system("a thread"))?;
        let arrivals = {
            let _control = control.handle().enter();
            Arrivals::start().map_err(system("an inotify instance"))?
        };
        let Listening { bound, addresses, callback_address, certificates } = bind(&self.config, &run_dir)?;
        let mesh = Mesh::new(MeshOptions {
            host: HostInfo {
                id: uuid::Uuid::now_v7().simple().to_string(),
                name: self.config.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            callback_address,
            run_dir,
            launcher,
            arrivals,
            trust_domain: self.config.trust_domain.clone(),
            environment: self.environment.unwrap_or_else(|| std::env::vars_os().collect()),
            max_starts: max_starts(&self.config),
            runtimes: Runtimes { data: Handle::current(), control: control.handle().clone() },
        });
        mesh.carry(events.clone());
        if !self.services.is_empty()
            && let Ok(name) = self.config.name.parse::<PluginName>()
        {
            let version = Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version::new(0, 0, 0));
            mesh.insert_in_process(name, version, self.services, &self.config);
        }
        let catalog = Catalog::new();
        let offers = Arc::new(Offers::new(mesh.clone(), catalog.clone()));
        let (health, following) = follow(offers.clone());
        control.handle().spawn(async move {
            // The watch on certificate files lives as long as this thread does.
            let _certificates = certificates;
            following.await;
        });
        let (shutdown, _) = watch::channel(None);
        let shared = Arc::new(Shared {
            mesh,
            config: self.config,
            catalog: catalog.clone(),
            offers,
            started: SystemTime::now(),
            addresses,
            shutdown,
        });
        let calls = ServerCalls::new(catalog.clone());
        let (board, router) = (shared.mesh.board().clone(), shared.mesh.router().clone());
        let metrics = Source::new(shared.started, board, router, calls.clone());
        let metrics = Arc::new(metrics.with_events(events.clone()));
        if let Some(provider) = self.meter_provider {
            telemetry::register(&*provider.0, &metrics);
        }
        let push =
            collector.map(|collector| Push::start(collector, Source::clone(&metrics), control.handle()));
        let pages = Arc::new(HostPages { metrics: metrics.clone(), shared: shared.clone() });
        let metrics_address = bound.pages_address();
        if let Some(address) = metrics_address {
            tracing::info!(%address, "serving metrics in plaintext to anybody who reaches this address");
        }
        let callers = Arc::new(shared.mesh.callers().clone());
        let admin = admin::service(shared.clone(), control.handle().clone());
        let services = Services {
            admin: Some(tonic::service::Routes::new(admin).add_service(events.service())),
            catalog,
            health: Arc::new(health),
            callers,
            pages,
            calls,
        };
        let gateway = bound.serve(shared.mesh.router().channel(), services);
        Ok(Host { gateway: Some(gateway), control, events, metrics, metrics_address, push, shared })
    }
}

fn max_starts(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let by_cores = || (cores() * STARTS_PER_CORE as usize).max(MIN_STARTS as usize);
    config.max_concurrent_starts.map_or_else(by_cores, |starts| starts as usize)
}
