//! Who provides which service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::{Channel, Route, RouteError};
use crate::closest::closest;
use crate::name::PluginName;

/// Finds the route of a call. Clones share the table.
#[derive(Clone, Debug, Default)]
pub struct Router(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: ArcSwap<Table>,
    // Whoever changes the table holds this, so that no change is lost.
    changing: Mutex<()>,
}

/// What a call sees: never changed, only replaced.
#[derive(Clone, Debug, Default)]
struct Table {
    plugins: BTreeMap<PluginName, Entry>,
    services: std::collections::HashMap<Arc<str>, Vec<Arc<Route>>, foldhash::fast::RandomState>,
}

#[derive(Clone, Debug)]
struct Entry {
    route: Arc<Route>,
    services: Vec<Arc<str>>,
}

impl Router {
    /// A router that knows no plugin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Routes `services` to `route`; replaces what was known of that plugin.
    pub fn insert(&self, route: Arc<Route>, services: impl IntoIterator<Item = String>) {
        let services = services.into_iter().map(Arc::from).collect();
        self.change(|plugins| {
            plugins.insert(route.plugin().clone(), Entry { route, services });
        });
    }

    /// Forgets a plugin. Calls on their way go on to their end.
    pub fn remove(&self, plugin: &PluginName) {
        self.change(|plugins| {
            plugins.remove(plugin);
        });
    }

    /// The route of a plugin.
    pub fn route(&self, plugin: &PluginName) -> Option<Arc<Route>> {
        self.0.table.load().plugins.get(plugin).map(|entry| entry.route.clone())
    }

    /// Services that are routed to a plugin.
    pub fn services_of(&self, plugin: &PluginName) -> Vec<Arc<str>> {
        self.0.table.load().plugins.get(plugin).map(|entry| entry.services.clone()).unwrap_or_default()
    }

    /// Every service with the plugins that provide it, in order.
    pub fn services(&self) -> BTreeMap<Arc<str>, Vec<PluginName>> {
        let table = self.0.table.load();
        let providers =
            |routes: &Vec<Arc<Route>>| routes.iter().map(|route| route.plugin().clone()).collect();
        table.services.iter().map(|(service, routes)| (service.clone(), providers(routes))).collect()
    }

    /// A service that sends any gRPC call where it belongs.
    pub fn channel(&self) -> Channel {
        Channel::new(self.clone())
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PluginName, Entry>)) {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table { plugins: self.0.table.load().plugins.clone(), services: Default::default() };
        change(&mut table.plugins);
        for entry in table.plugins.values() {
            for service in &entry.services {
                table.services.entry(service.clone()).or_default().push(entry.route.clone());
            }
        }
        self.0.table.store(Arc::new(table));
    }

    /// The route of a call to `service`. `plugin` is the one that the caller insists on, if any.
    ///
    /// # Errors
    /// Nobody provides the service, or several do and none was chosen.
    pub fn find(&self, service: &str, plugin: Option<&str>) -> Result<Arc<Route>, RouteError> {
        let table = self.0.table.load();
        let providers = table.services.get(service).map(Vec::as_slice).unwrap_or_default();
        match (providers, plugin) {
            ([route], None) => Ok(route.clone()),
            (_, Some(plugin)) => {
                let chosen = providers.iter().find(|route| route.plugin().as_str() == plugin);
                chosen.cloned().ok_or_else(|| table.not_provided(service, plugin))
            }
            ([], None) => {
                let known = table.services.keys().map(|service| &**service);
                Err(RouteError::unknown_service(service, closest(service, known)))
            }
            (several, None) => {
                Err(RouteError::ambiguous(service, several.iter().map(|route| route.plugin())))
            }
        }
    }
}

impl Table {
    fn not_provided(&self, service: &str, plugin: &str) -> RouteError {
        match self.plugins.iter().find(|(name, _)| name.as_str() == plugin) {
            Some((name, entry)) => RouteError::not_provided(service, name, &entry.services),
            None => RouteError::unknown_plugin(
                plugin,
                closest(plugin, self.plugins.keys().map(PluginName::as_str)),
            ),
        }
    }
}
