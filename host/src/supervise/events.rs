//! Instances that take part in events.

use std::sync::Arc;

use super::Mesh;
use super::failure::StartError;
use crate::config::PluginConfig;
use crate::event::{Attached, Part, Permissions};
use crate::instance::Introduction;
use crate::route::Endpoint;

/// Largest frame of events that is taken from a plugin: what the bus takes, and then some for the frame itself.
const MAX_FRAME: u64 = 8 << 20;

/// What an instance takes part in, if it said so and a bus is there.
///
/// # Errors
/// It wants something that makes no sense, or that it may not.
pub(super) fn part(
    mesh: &Mesh,
    config: &PluginConfig,
    endpoint: &Endpoint,
    introduction: &mut Introduction,
) -> Result<Option<Part>, StartError> {
    let Some(events) = mesh.events() else { return Ok(None) };
    let permissions = Permissions {
        publish: config.may_publish.as_deref().map(Arc::from),
        subscribe: config.may_subscribe.as_deref().map(Arc::from),
    };
    // Also for streams that it opens itself.
    events.permit(config.name.as_str(), permissions.clone());
    let Some(declaration) = introduction.events.take() else { return Ok(None) };
    let (name, group) = (endpoint.name().to_string().into(), config.name.to_string());
    let part = Part { name, group, permissions, declaration };
    part.check(events).map(Some).map_err(|bad| StartError::Events(bad.to_string()))
}

/// Attaches an instance to the bus.
pub(super) fn attach(mesh: &Mesh, endpoint: &Arc<Endpoint>, part: Part) -> Option<Attached> {
    let events = mesh.events()?;
    Some(events.attach(endpoint.channel_with_limit(MAX_FRAME), part))
}
