//! The plugin as its author describes it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use plugmesh::plugin::v1::plugin_service_server::PluginServiceServer;
use plugmesh::plugin::v1::{Capability, Dependency, HandshakeResponse, PluginMetadata};
use serde_json::Value;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tower_service::Service;

use crate::control::reflection::{Descriptors, Reflection, Version};
use crate::control::{Contract, Phases};
use crate::events::{self, Handler, Received, Sink};
use crate::lifecycle::{DynLifecycle, Lifecycle};
use crate::listen::{self, Listener};
use crate::serve::{Server, Signals};
use crate::service::{Boxed, Kind, Route, Services};
use crate::settings::{Environment, Listen, Settings};
use crate::{BoxError, Context, Error, logging, standalone};

mod check;

/// What a handshake tells the host that the plugin was built with.
const SDK: &str = concat!("plugmesh-sdk/", env!("CARGO_PKG_VERSION"), " rust");

/// Drain time unless [`Plugin::drain_timeout`] says otherwise: longer than the calls that most services take.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// A plugin: describe it, add tonic services, then [`run`](Self::run) or [`serve`](Self::serve) it.
///
/// Names, versions and bounds are checked when it is served, and faults in them are errors of `serve`.
#[must_use = "a plugin does nothing until it is served"]
pub struct Plugin {
    metadata: PluginMetadata,
    capabilities: Vec<Capability>,
    dependencies: Vec<Dependency>,
    config_schema: Option<Value>,
    routes: Vec<Route>,
    descriptors: Descriptors,
    lifecycle: Option<DynLifecycle>,
    handlers: Vec<Handler>,
    publications: Vec<String>,
    context: Context,
    environment: Environment,
    drain_time: Duration,
    idle_time: Option<Duration>,
}

impl Plugin {
    /// A plugin of this name, the same as in its manifest, and this SemVer version.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        let metadata = PluginMetadata {
            name: name.into(),
            version: version.into(),
            sdk: SDK.into(),
            ..Default::default()
        };
        Self {
            metadata,
            capabilities: Vec::new(),
            dependencies: Vec::new(),
            config_schema: None,
            routes: Vec::new(),
            descriptors: Descriptors::default(),
            lifecycle: None,
            handlers: Vec::new(),
            publications: Vec::new(),
            context: Context::new(),
            environment: Environment::Process,
            drain_time: DRAIN_TIME,
            idle_time: None,
        }
    }

    /// One or two sentences for people; 4 KiB at most.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.metadata.description = text.into();
        self
    }

    /// Who answers questions about the plugin.
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.metadata.author = author.into();
        self
    }

    /// A label, for selection and display: 64 at most, keys and values of 256 bytes at most.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.labels.insert(key.into(), value.into());
        self
    }

    /// The JSON Schema that the host checks the configuration against before `init`.
    pub fn config_schema(mut self, schema: Value) -> Self {
        self.config_schema = Some(schema);
        self
    }

    /// Another plugin that must be ready before this one, in a SemVer range such as `^1.2`; `*` for any.
    pub fn requires(mut self, plugin: impl Into<String>, version_range: impl Into<String>) -> Self {
        let dependency =
            Dependency { plugin: plugin.into(), version_range: version_range.into(), optional: false };
        self.dependencies.push(dependency);
        self
    }

    /// Another plugin that this one uses when it is there, and starts without.
    pub fn uses(mut self, plugin: impl Into<String>, version_range: impl Into<String>) -> Self {
        let dependency =
            Dependency { plugin: plugin.into(), version_range: version_range.into(), optional: true };
        self.dependencies.push(dependency);
        self
    }

    /// Something that the plugin offers beside its services, with parameters as the capability defines
    /// them. A host that does not know a `required` one refuses the plugin.
    pub fn capability(mut self, name: impl Into<String>, required: bool, detail: &Value) -> Self {
        let detail_json = if detail.is_null() { Vec::new() } else { detail.to_string().into_bytes() };
        self.capabilities.push(Capability { name: name.into(), required, detail_json });
        self
    }

    /// An encoded `FileDescriptorSet` of the services, with what it imports, for server reflection.
    pub fn descriptors(mut self, encoded: &'static [u8]) -> Self {
        self.descriptors.sets.push(encoded);
        self
    }

    /// A service: a server that tonic generated, with its own limits, compression and interceptors.
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.push(Route { name: S::NAME, kind: Kind::Work, service: Boxed::new(service) });
        self
    }

    /// What to do before the first call and after the last. Share state with a service by an `Arc`, which
    /// is a `Lifecycle` too.
    pub fn lifecycle(mut self, lifecycle: impl Lifecycle) -> Self {
        self.lifecycle = Some(Arc::new(lifecycle));
        self
    }

    /// What to do with the events of some topics, such as `user.login` or `user.>`: each is handled at least once, by one of the
    /// plugin's instances. See [`Handler`] for what it comes to when `handle` fails or panics.
    pub fn on<F, R>(self, pattern: impl Into<String>, handle: F) -> Self
    where
        F: Fn(Received) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.handler(Handler::new(pattern, handle))
    }

    /// What to do with the events of any subscription.
    pub fn handler(mut self, handler: Handler) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Topics that the plugin publishes, as a pattern. A plugin that says so may publish no others.
    pub fn publishes(mut self, pattern: impl Into<String>) -> Self {
        self.publications.push(pattern.into());
        self
    }

    /// How long calls in flight may go on after SIGTERM. Default: 30 s; 5 s at most when the host is gone.
    pub fn drain_timeout(mut self, time: Duration) -> Self {
        self.drain_time = time;
        self
    }

    /// Ends the plugin when no call was in flight for this long. Default: never.
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.idle_time = Some(time);
        self
    }

    /// Takes the `PLUGMESH_*` variables from here and not from the process: for tests, which cannot set
    /// variables of a process with threads.
    pub fn environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<OsString>,
    {
        let given: HashMap<_, _> = variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        self.environment = Environment::Given(given);
        self
    }

    /// The context of the plugin to be, for services that call others.
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// Serves on a runtime of one thread, and returns when the plugin has ended.
    ///
    /// This is the layout to choose for small handlers: no call changes threads, which measured 1.3 to 2
    /// times the calls per second of a multi-threaded runtime; more instances use more cores. Choose
    /// [`serve`](Self::serve) on a multi-threaded runtime for handlers that compute for milliseconds
    /// without an `await`: on one thread they hold up health and all other calls.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    pub fn run(self) -> Result<(), Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        runtime.block_on(self.serve())
    }

    /// Serves on the runtime of the caller, and returns when the plugin has ended: after SIGTERM or
    /// SIGINT, when the host is gone, after the idle time, or by [`Context::shut_down`]. It first drains
    /// for at most the [drain time](Self::drain_timeout), then runs the clean-up phases if nobody did.
    ///
    /// Listens where `PLUGMESH_LISTEN` says. Without it, as when a person starts the plugin, on a fresh
    /// Unix socket, and prints to stdout how to reach it.
    ///
    /// Health says SERVING from the start, since a host takes that as the sign to shake hands and run the
    /// phases; without a host it says so once the plugin has run its start phases itself.
    ///
    /// Dropping the future cuts everything, without drain.
    ///
    /// # Errors
    ///
    /// When the description breaks a rule of the contract, a `PLUGMESH_*` variable makes no sense, the
    /// address cannot be bound, the TLS files do not do, or a start phase fails without a host to tell.
    pub async fn serve(self) -> Result<(), Error> {
        logging::start();
        let about = self.about()?;
        let settings = Settings::read(&self.environment)?;
        // Before anybody can know of the plugin, and end it.
        let signals = Signals::new().map_err(Error::Runtime)?;
        let PluginMetadata { name, version, .. } = &self.metadata;
        let listener = Listener::bind(&settings.listen, name).await?;
        let address = listener.address();
        if let (Listen::Tls(..) | Listen::Loopback(_), Some(file)) =
            (&settings.listen, &settings.address_file)
        {
            listen::write_address(file, &address)?;
        }
        if !settings.launched {
            standalone::announce(name, version, &address, matches!(settings.listen, Listen::Tls(..)));
        }
        if let Some(gateway) = &settings.gateway {
            let callback = plugmesh::plugin::v1::Callback { address: gateway.clone(), ..Default::default() };
            self.context.0.link.follow(&callback);
        }
        let phases = Arc::new(Phases::new(self.lifecycle, self.context.clone()));
        let mut routes = self.routes;
        if !self.handlers.is_empty() || !self.publications.is_empty() {
            routes.push(control(Sink::new(self.handlers, self.context.clone())));
        }
        let services = services(routes, self.descriptors, about, &self.context, &phases);
        let (drain_time, idle_time) = (self.drain_time, self.idle_time);
        Server { signals, settings, listener, services, context: self.context, phases, drain_time, idle_time }
            .run()
            .await
    }

    /// What it takes part in of the events.
    fn takes_part(&self) -> Option<Capability> {
        if self.handlers.is_empty() && self.publications.is_empty() {
            return None;
        }
        let subscriptions = self.handlers.iter().map(Handler::declared);
        let detail = events::declaration(subscriptions, &self.publications);
        let detail_json = detail.to_string().into_bytes();
        Some(Capability { name: plugmesh::EVENT_CAPABILITY.to_owned(), required: true, detail_json })
    }

    /// What every handshake answers.
    fn about(&self) -> Result<HandshakeResponse, Error> {
        check::name(&self.metadata.name)?;
        check::metadata(&self.metadata)?;
        check::dependencies(&self.dependencies)?;
        check::schema(self.config_schema.as_ref())?;
        check::services(&self.routes)?;
        Ok(HandshakeResponse {
            contracts: Vec::new(),
            features: Vec::new(),
            metadata: Some(self.metadata.clone()),
            services: self.routes.iter().map(|route| route.name.to_owned()).collect(),
            capabilities: self.capabilities.iter().cloned().chain(self.takes_part()).collect(),
            config_schema_json: self
                .config_schema
                .as_ref()
                .map(|schema| schema.to_string().into_bytes())
                .unwrap_or_default(),
            dependencies: self.dependencies.clone(),
        })
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self.routes.iter().map(|route| route.name).collect();
        f.debug_struct("Plugin")
            .field("metadata", &self.metadata)
            .field("services", &services)
            .finish_non_exhaustive()
    }
}

/// The plugin's services with those that every plugin has.
fn services(
    mut routes: Vec<Route>,
    mut descriptors: Descriptors,
    about: HandshakeResponse,
    context: &Context,
    phases: &Arc<Phases>,
) -> Services {
    let health = context.0.health.clone();
    health.know(routes.iter().map(|route| route.name.to_owned()).collect());
    let contract = Contract::new(about, context.clone(), Arc::clone(phases));
    routes.push(control(PluginServiceServer::new(contract)));
    routes.push(control(HealthServer::new(health)));
    descriptors.services = routes.iter().map(|route| route.name.to_owned()).collect();
    descriptors.services.extend(Version::BOTH.map(|version| version.service().to_owned()));
    let descriptors = Arc::new(descriptors);
    for version in Version::BOTH {
        let service = Boxed::new(Reflection::new(version, Arc::clone(&descriptors)));
        routes.push(Route { name: version.service(), kind: Kind::Control, service });
    }
    Services::new(routes, Arc::clone(&context.0.in_flight))
}

fn control<S>(service: S) -> Route
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    Route { name: S::NAME, kind: Kind::Control, service: Boxed::new(service) }
}
