//! What a plugin's instances offer, and where calls to it go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::Mesh;
use super::fixed_answer::{fill_in, has_answers};
use super::unknown_targets::unknown_targets;
use crate::config::PluginConfig;
use crate::instance::{Dependency, DescribeError, Description, Introduction, describe};
use crate::route::{Endpoint, Route, ServiceInfo};

/// Bound on asking a ready instance to describe itself.
const DESCRIBE: Duration = Duration::from_secs(5);

/// Largest descriptor set file.
const MAX_DESCRIPTOR_SET: u64 = 16 * 1024 * 1024;

/// What an instance offers.
#[derive(Debug)]
pub(super) struct Offer {
    services: Vec<String>,
    /// `None` when it is not known yet.
    description: Option<Description>,
}

/// Learns which services `endpoint` offers. What the handshake says comes first, then the manifest, then
/// reflection, which is asked here only when the others are silent.
pub(super) async fn offer(
    config: &PluginConfig,
    endpoint: &Arc<Endpoint>,
    introduction: &Introduction,
) -> Result<Offer, DescribeError> {
    let stated = [&introduction.services, &config.services].into_iter().find(|services| !services.is_empty());
    if let Some(services) = stated {
        return Ok(Offer { services: services.clone(), description: None });
    }
    let description = describe(endpoint, &[], DESCRIBE).await?;
    Ok(Offer { services: description.services.clone(), description: Some(description) })
}

/// Routes calls to what is offered, and lets everybody know. `route` must have a ready endpoint: calls come
/// at once.
pub(super) fn announce(
    mesh: &Mesh,
    config: &Arc<PluginConfig>,
    route: &Arc<Route>,
    endpoint: &Arc<Endpoint>,
    introduction: Introduction,
    offer: Offer,
) {
    let Offer { services, description } = offer;
    mesh.router().insert(route.clone(), services.iter().cloned());
    mesh.board().update(&config.name, |status| {
        status.introduction = Some(Arc::new(introduction));
        status.services.clone_from(&services);
    });
    warn_of_missing(mesh, config);
    match description {
        Some(description) => publish(mesh, config, route, description),
        // Calls need no descriptors, so nobody waits for them.
        None => {
            let (task, config) = (mesh.clone(), config.clone());
            let (route, endpoint) = (route.clone(), endpoint.clone());
            let learning = mesh.learning();
            mesh.spawn(async move {
                learn(&task, &config, &route, &endpoint, &services).await;
                drop(learning);
            });
        }
    }
}

/// Says which plugins the handshake asks for that are not there. The manifest's own requirements have been
/// dealt with: they decide when a plugin starts, which only a manifest can, as the handshake comes later.
fn warn_of_missing(mesh: &Mesh, config: &PluginConfig) {
    let board = mesh.board().snapshot();
    let introduction = board.get(&config.name).and_then(|status| status.introduction.clone());
    let theirs = introduction.iter().flat_map(|introduction| &introduction.requires);
    for Dependency { plugin, range, .. } in theirs.filter(|dependency| !dependency.optional) {
        let found = board.get(plugin).map(|status| status.version());
        let problem = match found {
            None => "there is no such plugin",
            Some(Some(version)) if !range.matches(version) => "another version is there",
            Some(_) => continue,
        };
        tracing::warn!(
            plugin = %config.name,
            "its handshake says that it requires {plugin} {range}, and {problem}; calls to that one will fail"
        );
    }
}

async fn learn(
    mesh: &Mesh,
    config: &Arc<PluginConfig>,
    route: &Arc<Route>,
    endpoint: &Arc<Endpoint>,
    services: &[String],
) {
    let description = match &config.descriptor_set {
        Some(path) => read(path, services).await.map_err(|error| format!("{}: {error}", path.display())),
        None => describe(endpoint, services, DESCRIBE).await.map_err(|error| error.to_string()),
    };
    match description {
        Ok(description) => publish(mesh, config, route, description),
        Err(error) => {
            tracing::warn!(plugin = %config.name, "no descriptors, so reflection will not show it: {error}");
            let names: Vec<_> = services.iter().cloned().map(ServiceInfo::from).collect();
            warn_of_unknown(config, route, &names);
            if has_answers(route.policies()) {
                tracing::warn!(
                    plugin = %config.name,
                    "without descriptors its fallback.answer cannot be encoded, and nobody gets it; name a \
                     descriptor_set in the manifest"
                );
            }
        }
    }
}

fn publish(mesh: &Mesh, config: &PluginConfig, route: &Arc<Route>, description: Description) {
    // Of a route that has been replaced meanwhile nobody wants to know.
    if mesh.router().route(&config.name).is_some_and(|current| Arc::ptr_eq(&current, route)) {
        let mut infos = description.service_infos();
        fill_in(&config.name, route.policies(), &description, &mut infos);
        warn_of_unknown(config, route, &infos);
        mesh.router().insert(route.clone(), infos);
    }
    mesh.board().update(&config.name, |status| status.description = Some(Arc::new(description)));
}

fn warn_of_unknown(config: &PluginConfig, route: &Route, services: &[ServiceInfo]) {
    for sentence in unknown_targets(route.policies(), services) {
        tracing::warn!(plugin = %config.name, "{sentence}");
    }
}

async fn read(path: &Path, services: &[String]) -> Result<Description, ReadError> {
    if tokio::fs::metadata(path).await?.len() > MAX_DESCRIPTOR_SET {
        return Err(DescribeError::TooMuch("16 MiB of descriptors").into());
    }
    let bytes = tokio::fs::read(path).await?;
    let set = prost_types::FileDescriptorSet::decode(&*bytes).map_err(DescribeError::from)?;
    let files: BTreeMap<_, _> =
        set.file.into_iter().map(|file| (file.name().to_owned(), file.encode_to_vec())).collect();
    Ok(Description { services: services.to_vec(), files })
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Describe(#[from] DescribeError),
}
