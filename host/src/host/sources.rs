//! What the gateway asks the mesh: who calls, how plugins are doing, what they offer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::watch;

use crate::gateway::reflection::Catalog;
use crate::gateway::{Callers, HealthSource, ServingStatus};
use crate::instance::Description;
use crate::name::{InstanceName, PluginName};
use crate::supervise::{self, Mesh, PluginStatus, Stage};

impl Callers for supervise::Callers {
    fn by_pid(&self, pid: i32) -> Option<InstanceName> {
        Self::by_pid(self, pid)
    }

    fn by_token(&self, token: &str) -> Option<InstanceName> {
        Self::by_token(self, token)
    }
}

/// Health of the mesh: a plugin serves when a call would find an instance.
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
            // The route, not the state: while new instances start the old ones serve.
            .map(|status| {
                let route = self.mesh.router().route(&status.config.name);
                // One that sleeps is woken by a call.
                status.stage == Stage::Idle || route.is_some_and(|route| route.is_ready())
            })
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

/// How long an operation that has succeeded waits for descriptors before it says so.
const PATIENCE: Duration = Duration::from_secs(5);

/// What plugins offer, told to reflection.
#[derive(Debug)]
pub(crate) struct Offers {
    mesh: Mesh,
    catalog: Catalog,
    told: Mutex<HashMap<PluginName, Told>>,
}

type Told = (Vec<String>, Option<Arc<Description>>);

impl Offers {
    pub(super) fn new(mesh: Mesh, catalog: Catalog) -> Self {
        Self { mesh, catalog, told: Mutex::default() }
    }

    /// Waits for what plugins that have just started say about themselves, which calls do not wait for, and
    /// [catches up](Self::catch_up). Whoever has changed a plugin does this before saying so to a person, who may
    /// ask reflection next.
    pub(crate) async fn complete(&self) {
        self.mesh.described(PATIENCE).await;
        self.catch_up();
    }

    /// Makes the catalog equal to what plugins offer now.
    pub(crate) fn catch_up(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken under the lock: who comes later sees no older board.
        let plugins = self.mesh.board().snapshot();
        told.retain(|name, _| plugins.contains_key(name) || !self.catalog.remove(name));
        for (name, status) in plugins.iter() {
            let before = told.insert(name.clone(), (status.services.clone(), status.description.clone()));
            if !before.is_some_and(|before| same(&before, status)) {
                update(&self.catalog, name, status);
            }
        }
    }
}

/// Follows the board: keeps the catalog up to date, and counts changes for the health service.
pub(super) fn follow(offers: Arc<Offers>) -> (BoardHealth, impl Future<Output = ()> + use<>) {
    let (count, changed) = watch::channel(0);
    let mut board = offers.mesh.board().follow();
    let mesh = offers.mesh.clone();
    let following = async move {
        loop {
            board.mark_unchanged();
            offers.catch_up();
            count.send_modify(|count| *count += 1);
            if board.changed().await.is_err() {
                return;
            }
        }
    };
    (BoardHealth { mesh, changed }, following)
}

fn same((services, description): &Told, status: &PluginStatus) -> bool {
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
