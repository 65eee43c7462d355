//! The descriptors of all plugins, as they come and go.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use semver::Version;

use super::descriptors::{DescriptorError, Descriptors};
use crate::name::PluginName;

/// What the gateway answers itself.
pub(in crate::gateway) const OWN_SERVICES: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "plugmesh.admin.v1.AdminService",
    "plugmesh.event.v1.EventBusService",
];

/// How many clashes are remembered as already warned of. Beyond it a warning may be repeated.
const MAX_WARNED: usize = 4096;

/// The descriptors of all plugins and of the host itself. Cloning shares it.
///
/// Readers never wait for writers.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    own: Entry,
    /// By precedence: who comes first answers.
    plugins: ArcSwap<Vec<Arc<Entry>>>,
    /// Held by writers; clashes that were warned of, as (winner, loser, symbol).
    warned: Mutex<HashSet<(PluginName, PluginName, String)>>,
}

/// Who has what.
pub(super) struct Entry {
    /// `None`: the host.
    plugin: Option<(PluginName, Version)>,
    services: Vec<String>,
    pub(super) descriptors: Descriptors,
}

/// The entries that one question goes to, by precedence.
pub(super) struct View<'a> {
    own: Option<&'a Entry>,
    plugins: Vec<Arc<Entry>>,
}

impl Catalog {
    /// Only the host's own services.
    pub fn new() -> Self {
        // Sets that follow each other are one set: it is a message of one repeated field.
        let set = [
            plugmesh::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            // What statuses carry as details: a client that knows only reflection can show them.
            tonic_types::pb::FILE_DESCRIPTOR_SET,
        ]
        .concat();
        let descriptors = Descriptors::read(set.into()).unwrap_or_else(|error| {
            tracing::error!(%error, "the host's own descriptors are broken");
            Descriptors::default()
        });
        let services = OWN_SERVICES.map(str::to_owned).to_vec();
        Self(Arc::new(Inner {
            own: Entry { plugin: None, services, descriptors },
            plugins: ArcSwap::default(),
            warned: Mutex::default(),
        }))
    }

    /// Adds a plugin, or replaces what was known of it.
    ///
    /// `descriptor_set` is an encoded `google.protobuf.FileDescriptorSet` with all that its files import; it
    /// may be empty when only the names of the `services` are known. Files are served byte for byte as they
    /// are. On an error nothing changes.
    pub fn insert(
        &self,
        plugin: PluginName,
        version: Version,
        descriptor_set: Bytes,
        services: Vec<String>,
    ) -> Result<(), DescriptorError> {
        let descriptors = Descriptors::read(descriptor_set)?;
        let entry = Arc::new(Entry { plugin: Some((plugin.clone(), version)), services, descriptors });
        let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let mut plugins = self.without(&plugin);
        let at = plugins.partition_point(|other| other.precedence() < entry.precedence());
        for (index, other) in plugins.iter().enumerate() {
            let (winner, loser) = if index < at { (other, &entry) } else { (&entry, other) };
            warn_of_clash(winner, loser, &mut warned);
        }
        plugins.insert(at, entry);
        self.0.plugins.store(Arc::new(plugins));
        Ok(())
    }

    /// Forgets a plugin. Whether it was known.
    pub fn remove(&self, plugin: &PluginName) -> bool {
        let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|(winner, loser, _)| winner != plugin && loser != plugin);
        let left = self.without(plugin);
        let known = left.len() != self.0.plugins.load().len();
        self.0.plugins.store(Arc::new(left));
        known
    }

    fn without(&self, plugin: &PluginName) -> Vec<Arc<Entry>> {
        self.0.plugins.load().iter().filter(|entry| entry.name() != Some(plugin)).cloned().collect()
    }
}

impl Catalog {
    /// Every service that can be called, in the order of the names: the host's and all plugins', or one
    /// plugin's. `None`: there is no such plugin.
    pub fn services(&self, plugin: Option<&PluginName>) -> Option<Vec<String>> {
        self.view(plugin).map(|view| view.services())
    }

    /// The plugins that provide a service, the one whose descriptors answer first.
    pub fn providers(&self, service: &str) -> Vec<PluginName> {
        let plugins = self.0.plugins.load();
        let provides = plugins.iter().filter(|entry| entry.services.iter().any(|one| one == service));
        provides.filter_map(|entry| entry.name().cloned()).collect()
    }

    /// A plugin's types. `None` for an unknown plugin, and for one whose descriptors are absent or incomplete.
    pub fn descriptor_pool(&self, plugin: &PluginName) -> Option<DescriptorPool> {
        let plugins = self.0.plugins.load();
        plugins.iter().find(|entry| entry.name() == Some(plugin))?.descriptors.pool()
    }

    /// A service's descriptor, from which its methods and their types can be reached: as the host or the
    /// plugin of the highest version defines it, or as one plugin does.
    pub fn service(&self, service: &str, plugin: Option<&PluginName>) -> Option<ServiceDescriptor> {
        let view = self.view(plugin)?;
        let mut found = view.entries().filter(|entry| entry.descriptors.has_symbol(service));
        found.find_map(|entry| entry.descriptors.pool()?.get_service_by_name(service))
    }

    /// Whether any descriptor names that method.
    pub(in crate::gateway) fn has_method(&self, service: &str, method: &str) -> bool {
        let symbol = format!("{service}.{method}");
        let plugins = self.0.plugins.load();
        let mut entries = plugins.iter().map(|entry| &**entry).chain([&self.0.own]);
        entries.any(|entry| entry.descriptors.has_symbol(&symbol))
    }

    /// A service's methods, as [`service`](Self::service) finds it; none when its descriptor is unknown.
    pub fn methods(&self, service: &str) -> Vec<MethodDescriptor> {
        self.service(service, None).map(|service| service.methods().collect()).unwrap_or_default()
    }

    /// Whom to ask: everybody, or one plugin. `None`: there is no such plugin.
    pub(super) fn view(&self, plugin: Option<&PluginName>) -> Option<View<'_>> {
        let plugins = self.0.plugins.load();
        match plugin {
            None => Some(View { own: Some(&self.0.own), plugins: plugins.to_vec() }),
            Some(_) => {
                let entry = plugins.iter().find(|entry| entry.name() == plugin)?;
                Some(View { own: None, plugins: vec![entry.clone()] })
            }
        }
    }
}

impl View<'_> {
    pub(super) fn services(&self) -> Vec<String> {
        let all: BTreeSet<_> = self.entries().flat_map(|entry| entry.services.iter().cloned()).collect();
        all.into_iter().collect()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.own.into_iter().chain(self.plugins.iter().map(|entry| &**entry))
    }
}

impl Entry {
    fn name(&self) -> Option<&PluginName> {
        self.plugin.as_ref().map(|(name, _)| name)
    }

    /// The highest version first; names decide between equals, so that the order never depends on time.
    fn precedence(&self) -> Option<(Reverse<&Version>, &PluginName)> {
        self.plugin.as_ref().map(|(name, version)| (Reverse(version), name))
    }
}

fn warn_of_clash(winner: &Entry, loser: &Entry, warned: &mut HashSet<(PluginName, PluginName, String)>) {
    let (Some((winner_name, winner_version)), Some((loser_name, loser_version))) =
        (&winner.plugin, &loser.plugin)
    else {
        return;
    };
    let Some(symbol) = winner.descriptors.clash_with(&loser.descriptors) else { return };
    let clash = (winner_name.clone(), loser_name.clone(), symbol.to_owned());
    if warned.contains(&clash) {
        return;
    }
    tracing::warn!(
        symbol,
        chosen = %format_args!("{winner_name} {winner_version}"),
        other = %format_args!("{loser_name} {loser_version}"),
        "two plugins define a symbol differently: reflection shows the highest version, metadata \
         plugmesh-plugin the other"
    );
    if warned.len() < MAX_WARNED {
        warned.insert(clash);
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plugins = self.0.plugins.load();
        f.debug_list().entries(plugins.iter().filter_map(|entry| entry.plugin.as_ref())).finish()
    }
}
