//! What the gateway asks the mesh: who calls, how plugins are doing, what they offer.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use plugmesh::admin::v1::PluginState;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::watch;

use crate::gateway::reflection::Catalog;
use crate::gateway::{Callers, HealthSource, ServingStatus};
use crate::instance::Description;
use crate::name::{InstanceName, PluginName};
use crate::supervise::{self, Mesh, PluginStatus};

impl Callers for supervise::Callers {
    fn by_pid(&self, pid: i32) -> Option<InstanceName> {
        Self::by_pid(self, pid)
    }

    fn by_token(&self, token: &str) -> Option<InstanceName> {
        Self::by_token(self, token)
    }
}

/// Health of the mesh as the board shows it.
pub(super) struct BoardHealth {
    mesh: Mesh,
    changed: watch::Receiver<u64>,
}

impl HealthSource for BoardHealth {
    fn status(&self, service: &str, plugin: Option<&PluginName>) -> Option<ServingStatus> {
        let board = self.mesh.board().snapshot();
        let provides =
            |status: &PluginStatus| service.is_empty() || status.services.iter().any(|one| one == service);
        let mut states = board
            .values()
            .filter(|status| plugin.is_none_or(|plugin| status.config.name == *plugin))
            .filter(|status| provides(status))
            .map(|status| matches!(status.state(), PluginState::Ready | PluginState::Degraded))
            .peekable();
        if service.is_empty() && plugin.is_none() {
            // The host serves as long as it answers.
            return Some(ServingStatus::Serving);
        }
        states.peek()?;
        Some(if states.any(|ready| ready) { ServingStatus::Serving } else { ServingStatus::NotServing })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}

/// Follows the board: keeps `catalog` equal to what plugins offer, and counts changes for the health service.
pub(super) fn follow(mesh: &Mesh, catalog: Catalog) -> (BoardHealth, impl Future<Output = ()> + use<>) {
    let (count, changed) = watch::channel(0);
    let mut board = mesh.board().follow();
    let following = async move {
        let mut known = HashMap::new();
        loop {
            let plugins = board.borrow_and_update().clone();
            known.retain(|name, _| plugins.contains_key(name) || !catalog.remove(name));
            for (name, status) in plugins.iter() {
                let seen = known.insert(name.clone(), (status.services.clone(), status.description.clone()));
                if !seen.is_some_and(|seen| same(&seen, status)) {
                    update(&catalog, name, status);
                }
            }
            count.send_modify(|count| *count += 1);
            if board.changed().await.is_err() {
                return;
            }
        }
    };
    (BoardHealth { mesh: mesh.clone(), changed }, following)
}

type Seen = (Vec<String>, Option<Arc<Description>>);

fn same((services, description): &Seen, status: &PluginStatus) -> bool {
    let same_description = match (description, &status.description) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    same_description && *services == status.services
}

fn update(catalog: &Catalog, name: &PluginName, status: &PluginStatus) {
    let version = status.version().cloned().unwrap_or(semver::Version::new(0, 0, 0));
    let set = status.description.as_ref().map(|description| descriptor_set(description)).unwrap_or_default();
    if let Err(error) = catalog.insert(name.clone(), version.clone(), set, status.services.clone()) {
        tracing::warn!(plugin = %name, "its descriptors are no good, so reflection shows its services only: {error}");
        let _ = catalog.insert(name.clone(), version, Bytes::new(), status.services.clone());
    }
}

/// A `FileDescriptorSet` of files that stay byte for byte as they came.
fn descriptor_set(description: &Description) -> Bytes {
    /// `FileDescriptorSet.file`.
    const FILE: u32 = 1;
    let mut set = Vec::new();
    for file in description.files.values() {
        encode_key(FILE, WireType::LengthDelimited, &mut set);
        encode_varint(file.len() as u64, &mut set);
        set.extend_from_slice(file);
    }
    set.into()
}
