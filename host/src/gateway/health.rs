//! `grpc.health.v1`, for the host, for a service over all plugins, or for one plugin.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus as Wire;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::Target;
use super::reflection::{Catalog, OWN_SERVICES};
use crate::name::PluginName;

/// Whether calls would be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServingStatus {
    /// Yes.
    Serving,
    /// Not now.
    NotServing,
}

/// Knows the health of plugins. Asked by the gateway, answered by who watches the instances.
pub trait HealthSource: Send + Sync + 'static {
    /// The health of a service over all plugins that provide it, which is serving when one of them is; or of
    /// one plugin. The empty service stands for the host as a whole, or for the plugin as a whole.
    ///
    /// `None`: there is no such service or plugin.
    fn status(&self, service: &str, plugin: Option<&PluginName>) -> Option<ServingStatus>;

    /// A number that changes whenever an answer of [`status`](Self::status) may have changed.
    fn changed(&self) -> watch::Receiver<u64>;
}

/// The service.
pub(super) struct Health {
    source: Arc<dyn HealthSource>,
    catalog: Catalog,
    stop: CancellationToken,
}

/// What one `Watch` looks at, and what it said last.
struct Watched {
    source: Arc<dyn HealthSource>,
    changed: watch::Receiver<u64>,
    service: String,
    plugin: Option<PluginName>,
    said: Option<Wire>,
    stop: CancellationToken,
    over: bool,
}

impl Health {
    pub(super) fn new(source: Arc<dyn HealthSource>, catalog: Catalog, stop: CancellationToken) -> Self {
        Self { source, catalog, stop }
    }

    pub(super) fn into_service(self) -> HealthServer<Self> {
        HealthServer::new(self)
    }
}

/// The host's own services are up whenever they can be asked.
fn look(source: &dyn HealthSource, service: &str, plugin: Option<&PluginName>) -> Option<Wire> {
    match source.status(service, plugin) {
        Some(ServingStatus::Serving) => Some(Wire::Serving),
        Some(ServingStatus::NotServing) => Some(Wire::NotServing),
        None if plugin.is_none() && OWN_SERVICES.contains(&service) => Some(Wire::Serving),
        None => None,
    }
}

fn plugin_in<T>(request: &Request<T>) -> Option<PluginName> {
    request.extensions().get::<Target>().and_then(|target| target.plugin.clone())
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let plugin = plugin_in(&request);
        let service = request.into_inner().service;
        match look(&*self.source, &service, plugin.as_ref()) {
            Some(status) => Ok(Response::new(HealthCheckResponse { status: status.into() })),
            None => {
                let known = self.catalog.services(plugin.as_ref()).unwrap_or_default().join(", ");
                let shown: String = service.chars().take(200).collect();
                Err(Status::not_found(match plugin {
                    Some(plugin) => format!("plugin {plugin} is unknown or has no service {shown:?}"),
                    None => format!("no service {shown:?}; known: {known}"),
                }))
            }
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watched = Watched {
            source: self.source.clone(),
            changed: self.source.changed(),
            plugin: plugin_in(&request),
            service: request.into_inner().service,
            said: None,
            stop: self.stop.clone(),
            over: false,
        };
        let changes = stream::unfold(watched, |mut watched| async {
            let item = watched.next().await?;
            Some((item, watched))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

impl Watched {
    async fn next(&mut self) -> Option<Result<HealthCheckResponse, Status>> {
        if self.over {
            return None;
        }
        loop {
            // Before looking, so that a change while looking is seen by the next wait.
            self.changed.mark_unchanged();
            let now =
                look(&*self.source, &self.service, self.plugin.as_ref()).unwrap_or(Wire::ServiceUnknown);
            if self.said != Some(now) {
                self.said = Some(now);
                return Some(Ok(HealthCheckResponse { status: now.into() }));
            }
            tokio::select! {
                changed = self.changed.changed() => if changed.is_ok() { continue },
                () = self.stop.cancelled() => {}
            }
            // The watch never ends by itself, so shutdown must not wait for it.
            self.over = true;
            return Some(Err(Status::unavailable("the host is shutting down")));
        }
    }
}
