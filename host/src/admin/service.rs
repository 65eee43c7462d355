//! The RPCs of `AdminService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use plugmesh::admin::v1 as pb;
use plugmesh::admin::v1::admin_service_server::AdminService;
use plugmesh::time::duration;
use tokio::runtime::Handle;
use tonic::{Request, Response, Status};

use super::{convert, stream};
use crate::closest::closest;
use crate::config::{Endpoint, InvalidEndpoint, PluginConfig, PluginOptions, RemoteConfig, Source};
use crate::host::Shared;
use crate::name::PluginName;
use crate::supervise::{LoadError, Plugin, PluginStatus};

/// Lines of log that one request may ask for: what is kept.
const MAX_LINES: u32 = 1000;

/// Longest grace that a request may ask for: a day, so that no clock overflows.
const MAX_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// The RPCs.
pub(super) struct Service {
    shared: Arc<Shared>,
    control: Handle,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    pub(super) fn new(shared: Arc<Shared>, control: Handle) -> Self {
        Self { shared, control }
    }

    /// Runs an operation to its end, even when the client goes away in the middle of it.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let shared = self.shared.clone();
        let ended = self.control.spawn(async move {
            let result = operation.await;
            // What it changed can be asked for by the time it is said to be done.
            shared.offers.complete().await;
            result
        });
        let ended = ended.await;
        ended.map_err(|_| Status::unavailable("the host is shutting down"))?
    }

    fn status(&self, name: &str) -> Result<Arc<PluginStatus>, Status> {
        let board = self.shared.mesh.board().snapshot();
        let found = board.values().find(|status| status.config.name.as_str() == name);
        found.cloned().ok_or_else(|| {
            let name: String = name.chars().take(128).collect();
            let hint = closest(&name, board.keys().map(PluginName::as_str));
            let hint = hint.map(|closest| format!("; did you mean {closest}?")).unwrap_or_default();
            Status::not_found(format!("there is no plugin {name:?}{hint}"))
        })
    }

    fn plugin(&self, name: &str) -> Result<Plugin, Status> {
        let status = self.status(name)?;
        self.shared.mesh.plugin(&status.config.name).ok_or_else(|| {
            Status::failed_precondition(format!(
                "{name} is part of the host itself; only its program can change it"
            ))
        })
    }

    fn shown(&self, name: &PluginName) -> Option<pb::Plugin> {
        let board = self.shared.mesh.board().snapshot();
        board.get(name).map(|status| convert::plugin(status, &board))
    }

    fn grace(&self, grace: Option<prost_types::Duration>) -> Result<Duration, Status> {
        match grace {
            None => Ok(self.shared.config.drain_timeout),
            Some(grace) => match duration(grace) {
                Some(grace) if grace <= MAX_GRACE => Ok(grace),
                _ => Err(Status::invalid_argument("the grace must be between 0 s and 24 h")),
            },
        }
    }

    fn until_shutdown<T: 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Answers<T> {
        let mut shutdown = self.shared.shutdown.subscribe();
        Box::pin(stream.take_until(async move {
            let _ = shutdown.wait_for(Option::is_some).await;
        }))
    }
}

fn failed(error: LoadError) -> Status {
    match error {
        LoadError::Exists(_) => Status::already_exists(error.to_string()),
        LoadError::Skipped { .. } | LoadError::Dependency { .. } => {
            Status::failed_precondition(error.to_string())
        }
        LoadError::Build { .. } | LoadError::NotStarted { .. } => Status::aborted(error.to_string()),
    }
}

/// Where a plugin that runs already may be attached: on this machine without TLS. Others belong into the
/// configuration, where their certificates are.
fn attachable(address: &str) -> Result<Endpoint, Status> {
    Endpoint::parse(address, None).map_err(|error| {
        Status::invalid_argument(match error {
            InvalidEndpoint::Plaintext | InvalidEndpoint::NoTls => {
                "only a Unix socket or a loopback address without TLS can be attached; write others as an entry of \
                 plugmesh.yaml with endpoints and tls"
                    .to_owned()
            }
            other => format!("{address:?}: {other}"),
        })
    })
}

#[tonic::async_trait]
impl AdminService for Service {
    type WatchPluginsStream = Answers<pb::WatchPluginsResponse>;
    type TailLogsStream = Answers<pb::TailLogsResponse>;

    async fn get_host(
        &self,
        _: Request<pb::GetHostRequest>,
    ) -> Result<Response<pb::GetHostResponse>, Status> {
        let board = self.shared.mesh.board().snapshot();
        let ready = board.values().filter(|status| status.state() == pb::PluginState::Ready).count();
        let host = self.shared.mesh.host().clone();
        Ok(Response::new(pb::GetHostResponse {
            id: host.id,
            name: host.name,
            version: host.version,
            start_time: Some(self.shared.started.into()),
            addresses: self.shared.addresses.clone(),
            pid: std::process::id(),
            plugins: board.len() as u32,
            ready_plugins: ready as u32,
        }))
    }

    async fn get_health(
        &self,
        request: Request<pb::GetHealthRequest>,
    ) -> Result<Response<pb::GetHealthResponse>, Status> {
        let name = request.into_inner().name;
        if name.is_empty() {
            return Ok(Response::new(super::health(&self.shared)));
        }
        let status = self.status(&name)?;
        let only = [(status.config.name.clone(), status)].into_iter().collect();
        Ok(Response::new(convert::health(&only)))
    }

    async fn list_plugins(
        &self,
        _: Request<pb::ListPluginsRequest>,
    ) -> Result<Response<pb::ListPluginsResponse>, Status> {
        Ok(Response::new(pb::ListPluginsResponse { plugins: super::plugins(&self.shared) }))
    }

    async fn get_plugin(
        &self,
        request: Request<pb::GetPluginRequest>,
    ) -> Result<Response<pb::GetPluginResponse>, Status> {
        let status = self.status(&request.into_inner().name)?;
        Ok(Response::new(pb::GetPluginResponse { plugin: self.shown(&status.config.name) }))
    }

    async fn watch_plugins(
        &self,
        request: Request<pb::WatchPluginsRequest>,
    ) -> Result<Response<Self::WatchPluginsStream>, Status> {
        let name = request.into_inner().name;
        let only = match name.is_empty() {
            true => None,
            false => Some(self.status(&name)?.config.name.clone()),
        };
        Ok(Response::new(self.until_shutdown(stream::plugins(self.shared.mesh.board(), only))))
    }

    async fn load_plugin(
        &self,
        request: Request<pb::LoadPluginRequest>,
    ) -> Result<Response<pb::LoadPluginResponse>, Status> {
        let (shared, path) = (self.shared.clone(), request.into_inner().manifest);
        let name = self
            .run(async move {
                let config = read(&shared, path).await?;
                let name = config.name.clone();
                shared.mesh.load(config).await.map_err(failed)?;
                Ok(name)
            })
            .await?;
        Ok(Response::new(pb::LoadPluginResponse { plugin: self.shown(&name) }))
    }

    async fn unload_plugin(
        &self,
        request: Request<pb::UnloadPluginRequest>,
    ) -> Result<Response<pb::UnloadPluginResponse>, Status> {
        let plugin = self.plugin(&request.into_inner().name)?;
        let (mesh, grace) = (self.shared.mesh.clone(), self.shared.config.drain_timeout);
        self.run(async move { mesh.unload(plugin.name(), grace).await.map_err(failed) }).await?;
        Ok(Response::new(pb::UnloadPluginResponse {}))
    }

    async fn reload_plugin(
        &self,
        request: Request<pb::ReloadPluginRequest>,
    ) -> Result<Response<pb::ReloadPluginResponse>, Status> {
        let plugin = self.plugin(&request.into_inner().name)?;
        let name = plugin.name().clone();
        let shared = self.shared.clone();
        let status = self.status(name.as_str())?;
        self.run(async move {
            let config = match &status.config.manifest {
                Some(manifest) => read(&shared, manifest.display().to_string()).await?,
                None => PluginConfig::clone(&status.config),
            };
            plugin.replace(config).await.map_err(failed)
        })
        .await?;
        Ok(Response::new(pb::ReloadPluginResponse { plugin: self.shown(&name) }))
    }

    async fn enable_plugin(
        &self,
        request: Request<pb::EnablePluginRequest>,
    ) -> Result<Response<pb::EnablePluginResponse>, Status> {
        let plugin = self.plugin(&request.into_inner().name)?;
        let name = plugin.name().clone();
        self.run(async move { plugin.start().await.map_err(failed) }).await?;
        Ok(Response::new(pb::EnablePluginResponse { plugin: self.shown(&name) }))
    }

    async fn disable_plugin(
        &self,
        request: Request<pb::DisablePluginRequest>,
    ) -> Result<Response<pb::DisablePluginResponse>, Status> {
        let plugin = self.plugin(&request.into_inner().name)?;
        let (name, grace) = (plugin.name().clone(), self.shared.config.drain_timeout);
        self.run(async move {
            plugin.stop(grace).await;
            Ok(())
        })
        .await?;
        Ok(Response::new(pb::DisablePluginResponse { plugin: self.shown(&name) }))
    }

    async fn attach_plugin(
        &self,
        request: Request<pb::AttachPluginRequest>,
    ) -> Result<Response<pb::AttachPluginResponse>, Status> {
        let pb::AttachPluginRequest { name, address } = request.into_inner();
        let name: PluginName = name.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let endpoint = attachable(&address)?;
        let (shared, attached) = (self.shared.clone(), name.clone());
        self.run(async move {
            if let Some(plugin) = shared.mesh.plugin(&attached) {
                return plugin.attach(endpoint).await.map_err(failed);
            }
            let source = Source::Remote(RemoteConfig { endpoints: vec![endpoint] });
            let config =
                PluginConfig::new(attached.clone(), source, PluginOptions::default(), &shared.config);
            let loaded = shared.mesh.load(config).await.map_err(failed);
            if loaded.is_err() {
                // It was never part of this host, so nothing of it should stay.
                let _ = shared.mesh.unload(&attached, Duration::ZERO).await;
            }
            loaded
        })
        .await?;
        Ok(Response::new(pb::AttachPluginResponse { plugin: self.shown(&name) }))
    }

    async fn drain_plugin(
        &self,
        request: Request<pb::DrainPluginRequest>,
    ) -> Result<Response<pb::DrainPluginResponse>, Status> {
        let request = request.into_inner();
        let (plugin, grace) = (self.plugin(&request.name)?, self.grace(request.grace)?);
        let status = self.status(&request.name)?;
        let wanted = request.instance;
        let is_wanted = move |name: &str, id: &str| wanted.is_empty() || name == wanted || id == wanted;
        let known = status.instances.values().any(|instance| {
            let id = instance.incarnation.as_ref().map(|incarnation| incarnation.id.as_str());
            is_wanted(instance.name.as_str(), id.unwrap_or_default())
        });
        if !known {
            let names: Vec<_> = status.instances.values().map(|instance| instance.name.as_str()).collect();
            return Err(Status::not_found(format!(
                "no such instance; {} has: {}",
                request.name,
                names.join(", ")
            )));
        }
        let in_flight = self.run(async move { Ok(plugin.drain(is_wanted, grace).await) }).await?;
        Ok(Response::new(pb::DrainPluginResponse { in_flight }))
    }

    async fn list_services(
        &self,
        _: Request<pb::ListServicesRequest>,
    ) -> Result<Response<pb::ListServicesResponse>, Status> {
        Ok(Response::new(pb::ListServicesResponse { services: super::services(&self.shared) }))
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        Ok(Response::new(super::explain(&self.shared, &request.into_inner())))
    }

    async fn tail_logs(
        &self,
        request: Request<pb::TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let request = request.into_inner();
        let status = self.status(&request.name)?;
        let log = self.shared.mesh.log(&status.config.name);
        let lines = stream::logs(&log, request.lines.min(MAX_LINES) as usize, request.follow);
        Ok(Response::new(self.until_shutdown(lines)))
    }

    async fn shutdown(
        &self,
        request: Request<pb::ShutdownRequest>,
    ) -> Result<Response<pb::ShutdownResponse>, Status> {
        let grace = self.grace(request.into_inner().grace)?;
        self.shared.shutdown.send_replace(Some(grace));
        Ok(Response::new(pb::ShutdownResponse {}))
    }
}

async fn read(shared: &Arc<Shared>, path: String) -> Result<PluginConfig, Status> {
    let shared = shared.clone();
    let reading = tokio::task::spawn_blocking(move || shared.read_manifest(path.into()));
    let read = reading.await.map_err(|_| Status::unavailable("the host is shutting down"))?;
    read.map_err(|error| Status::invalid_argument(error.to_string()))
}
