//! From an endpoint that can be reached to one that may be picked.

use std::sync::Arc;
use std::time::Duration;

use plugmesh::plugin::v1::{Callback, InstanceInfo, Session};
use tokio::time::Instant;

use super::Mesh;
use super::failure::StartError;
use super::timeline::Timeline;
use crate::config::{PluginConfig, schema};
use crate::instance::{Health, HealthWatch, Hello, Introduction, Phases, Tier, handshake};
use crate::route::Endpoint;

/// An instance that is up.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) introduction: Introduction,
    pub(super) health: HealthWatch,
    /// The lifecycle, when the instance takes one.
    pub(super) phases: Option<Phases>,
}

/// Introduces host and plugin, checks the configuration, runs the start phases, and waits until the
/// instance is healthy. `managed` says whether the host runs its lifecycle; `timeline` learns of each step.
pub(super) async fn bring_up(
    mesh: &Mesh,
    config: &PluginConfig,
    endpoint: &Arc<Endpoint>,
    token: String,
    managed: bool,
    timeline: &Timeline,
) -> Result<Up, StartError> {
    let within = config.start_timeout;
    let deadline = Instant::now() + within;
    let session = Session {
        host_id: mesh.host().id.clone(),
        session_id: endpoint.id().to_string(),
        epoch: endpoint.epoch(),
    };
    let mut health = HealthWatch::new(endpoint);
    let hello = hello(mesh, config, endpoint, token, session.clone(), managed);
    let first = tokio::time::timeout_at(deadline, health.next());
    let introducing = async {
        let introduction = handshake(endpoint, hello, within).await?;
        timeline.done("handshake");
        check_config(config, &introduction).await?;
        let mut phases = None;
        if managed && introduction.tier == Tier::Contract {
            let mut started = Phases::new(endpoint, session);
            started.start(config.config.to_json().into_bytes(), deadline, within).await?;
            timeline.done("start phases");
            phases = Some(started);
        }
        Ok::<_, StartError>((introduction, phases))
    };
    // Both at once: neither needs the other, and each costs round trips.
    let ((introduction, phases), first) = tokio::try_join!(introducing, async { Ok(first.await.ok()) })?;
    let mut last = first;
    while !matches!(last, Some(Ok(Health::Serving))) {
        match tokio::time::timeout_at(deadline, health.next()).await {
            Ok(word) => last = Some(word),
            Err(_) => return Err(StartError::Unhealthy { within, last }),
        }
    }
    timeline.done("healthy");
    Ok(Up { introduction, health, phases })
}

/// Checks the configuration against the schema of the plugin, which may take a while.
async fn check_config(config: &PluginConfig, introduction: &Introduction) -> Result<(), StartError> {
    if introduction.config_schema.is_empty() {
        return Ok(());
    }
    let (schema, value) = (introduction.config_schema.clone(), config.config.value().clone());
    let checked = tokio::task::spawn_blocking(move || schema::check(&schema, &value)).await;
    // No word from the thread: the host is shutting down.
    Ok(checked.map_err(|_| StartError::Stopped)??)
}

fn hello(
    mesh: &Mesh,
    config: &PluginConfig,
    endpoint: &Endpoint,
    token: String,
    session: Session,
    managed: bool,
) -> Hello {
    Hello {
        host: mesh.host().clone(),
        session,
        instance: InstanceInfo {
            plugin: config.name.to_string(),
            name: endpoint.name().to_string(),
            instance_id: endpoint.id().to_string(),
            ordinal: endpoint.name().ordinal(),
        },
        callback: Callback {
            address: mesh.callback_address().to_owned(),
            token,
            ca_certificates_pem: String::new(),
        },
        max_message: config.max_message_size.as_u64(),
        managed,
    }
}

/// Bound on a stop phase that the plugin's configuration does not set: stopping is on somebody's clock.
pub(super) const STOP_PHASES: Duration = Duration::from_secs(5);
