//! Who provides which method.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::replay::ReplayMemory;
use super::{Channel, Method, MethodInfo, Route, RouteError, ServiceInfo};
use crate::closest::closest;
use crate::name::PluginName;

/// Finds the method of a call. Clones share the table.
#[derive(Clone, Debug, Default)]
pub struct Router(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: ArcSwap<Table>,
    // Whoever changes the table holds this, so that no change is lost.
    changing: Mutex<()>,
    replay_memory: Arc<ReplayMemory>,
    /// Starts that go on, of plugins whose services are not known before.
    starting: AtomicUsize,
}

/// Says, for as long as it is there, that plugins start of which nobody knows yet what they provide.
#[derive(Debug)]
pub(crate) struct Starting(Router);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.0.starting.fetch_sub(1, Ordering::Relaxed);
    }
}

type Index = HashMap<Arc<str>, Vec<Arc<Method>>, foldhash::fast::RandomState>;

/// What a call sees: never changed, only replaced.
#[derive(Debug, Default)]
struct Table {
    plugins: BTreeMap<PluginName, Entry>,
    /// By `/package.Service/Method`, as a call names it: the common case is one look. Only of the plugins in `firsts`.
    methods: HashMap<Arc<str>, Arc<Method>, foldhash::fast::RandomState>,
    /// By `package.Service`: for methods that nobody has described.
    services: Index,
    /// By `package.Service`, where it is plain whom calls are for that name no plugin.
    firsts: HashMap<Arc<str>, Arc<Method>, foldhash::fast::RandomState>,
}

/// What is known of one plugin.
#[derive(Clone, Debug)]
struct Entry {
    route: Arc<Route>,
    services: BTreeMap<Arc<str>, Service>,
    /// The plugin has said itself what it offers; before, somebody else did.
    is_offered: bool,
}

#[derive(Clone, Debug)]
struct Service {
    /// For the methods that are not known by name.
    any: Arc<Method>,
    methods: Vec<Arc<Method>>,
}

impl Router {
    /// A router that knows no plugin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Routes `services` to `route`; replaces what was known of that plugin. What is known of the methods of a service stays
    /// when `services` says nothing of them.
    pub fn insert(&self, route: Arc<Route>, services: impl IntoIterator<Item = impl Into<ServiceInfo>>) {
        self.put(route, services, true);
    }

    /// Routes `services` to a plugin that has not started yet: calls wait for it, or get what answers in its place.
    /// Another plugin that offers them goes first. Of a plugin that is known already this changes nothing.
    pub fn expect(&self, route: Arc<Route>, services: impl IntoIterator<Item = impl Into<ServiceInfo>>) {
        if self.route(route.plugin()).is_none() {
            self.put(route, services, false);
        }
    }

    fn put(
        &self,
        route: Arc<Route>,
        services: impl IntoIterator<Item = impl Into<ServiceInfo>>,
        is_offered: bool,
    ) {
        let services: Vec<ServiceInfo> = services.into_iter().map(Into::into).collect();
        self.change(|plugins| {
            let before = plugins.remove(route.plugin());
            let mut known = before.map(|entry| entry.services).unwrap_or_default();
            let services = services.into_iter().map(|info| {
                let before = known.remove(info.name.as_str());
                Service::new(&route, info, before)
            });
            let services = services.collect();
            plugins.insert(route.plugin().clone(), Entry { route, services, is_offered });
        });
    }

    /// While any of these is there, a service that nobody provides is one that nobody provides yet.
    pub(crate) fn starting(&self) -> Starting {
        self.0.starting.fetch_add(1, Ordering::Relaxed);
        Starting(self.clone())
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
        let table = self.0.table.load();
        table.plugins.get(plugin).map(Entry::names).unwrap_or_default()
    }

    /// Every service with the plugins that provide it, in order.
    pub fn services(&self) -> BTreeMap<Arc<str>, Vec<PluginName>> {
        let table = self.0.table.load();
        let providers = |methods: &Vec<Arc<Method>>| {
            methods.iter().map(|method| method.route().plugin().clone()).collect()
        };
        table.services.iter().map(|(service, methods)| (service.clone(), providers(methods))).collect()
    }

    /// Every route that is in use, with its methods.
    pub(crate) fn routes(&self) -> Vec<(Arc<Route>, Vec<Arc<Method>>)> {
        let table = self.0.table.load();
        let methods = |service: &Service| service.methods.iter().chain([&service.any]).cloned().collect();
        let of_entry = |entry: &Entry| {
            let methods: Vec<Vec<_>> = entry.services.values().map(methods).collect();
            (entry.route.clone(), methods.concat())
        };
        table.plugins.values().map(of_entry).collect()
    }

    /// A service that sends any gRPC call where it belongs.
    pub fn channel(&self) -> Channel {
        Channel::new(self.clone())
    }

    pub(super) fn replay_memory(&self) -> &Arc<ReplayMemory> {
        &self.0.replay_memory
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PluginName, Entry>)) {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut plugins = self.0.table.load().plugins.clone();
        change(&mut plugins);
        let mut table = Table { plugins, ..Table::default() };
        for entry in table.plugins.values() {
            for (name, service) in &entry.services {
                table.services.entry(name.clone()).or_default().push(service.any.clone());
            }
        }
        for name in table.services.keys() {
            if let Some(first) = first(&table.plugins, name) {
                table.firsts.insert(name.clone(), first.clone());
            }
        }
        for service in table.plugins.values().flat_map(|entry| entry.services.values()) {
            let first = table.firsts.get(service.any.service());
            let is_first = first.is_some_and(|first| Arc::ptr_eq(first, &service.any));
            for method in service.methods.iter().filter(|_| is_first) {
                table.methods.insert(method.path().into(), method.clone());
            }
        }
        self.0.table.store(Arc::new(table));
    }

    /// The method of a call to `path`. `plugin` is the one that the caller insists on, if any.
    ///
    /// # Errors
    /// The path is none of gRPC, nobody provides the service, or several do and none was chosen.
    pub fn find(&self, path: &str, plugin: Option<&str>) -> Result<Arc<Method>, RouteError> {
        let table = self.0.table.load();
        if let Some(method) = table.methods.get(path)
            && plugin.is_none_or(|plugin| method.route().plugin().as_str() == plugin)
        {
            return Ok(method.clone());
        }
        let service = service(path)?;
        if let (Some(first), None) = (table.firsts.get(service), plugin) {
            // One that it has described would have been found above.
            return Ok(first.clone());
        }
        let providers = table.services.get(service).map(Vec::as_slice).unwrap_or_default();
        match (providers, plugin) {
            (_, Some(plugin)) => {
                let chosen = providers.iter().find(|any| any.route().plugin().as_str() == plugin);
                let any = chosen.ok_or_else(|| table.not_provided(service, plugin))?;
                Ok(table.described(any, path).unwrap_or_else(|| any.clone()))
            }
            ([], None) if self.0.starting.load(Ordering::Relaxed) > 0 => Err(RouteError::nobody_yet(service)),
            ([], None) => {
                let known = table.services.keys().map(|service| &**service);
                Err(RouteError::unknown_service(service, closest(service, known)))
            }
            (several, None) => {
                let plugins = several.iter().map(|method| method.route().plugin());
                Err(RouteError::ambiguous(service, plugins))
            }
        }
    }
}

/// `package.Service` of `/package.Service/Method`.
fn service(path: &str) -> Result<&str, RouteError> {
    let (service, method) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).unwrap_or_default();
    match service.is_empty() || method.is_empty() {
        true => Err(RouteError::malformed_path(path)),
        false => Ok(service),
    }
}

impl Table {
    /// The method at `path`, if the plugin of `any` has described it.
    fn described(&self, any: &Method, path: &str) -> Option<Arc<Method>> {
        let service = self.plugins.get(any.route().plugin())?.services.get(any.service())?;
        service.methods.iter().find(|method| method.path() == path).cloned()
    }

    fn not_provided(&self, service: &str, plugin: &str) -> RouteError {
        match self.plugins.iter().find(|(name, _)| name.as_str() == plugin) {
            Some((name, entry)) => RouteError::not_provided(service, name, &entry.names()),
            None => RouteError::unknown_plugin(
                plugin,
                closest(plugin, self.plugins.keys().map(PluginName::as_str)),
            ),
        }
    }
}

impl Entry {
    fn names(&self) -> Vec<Arc<str>> {
        self.services.keys().cloned().collect()
    }
}

impl Service {
    /// Methods that are the same as before, on the same route, keep what they remember; on another, what is counted of them.
    fn new(route: &Arc<Route>, info: ServiceInfo, before: Option<Self>) -> (Arc<str>, Self) {
        let ServiceInfo { name, methods: mut infos } = info;
        let (before_any, mut known) = before.map(|before| (before.any, before.methods)).unzip();
        let known = known.get_or_insert_default();
        if infos.is_empty() {
            infos = known.iter().filter_map(|method| as_before(route, &name, method)).collect();
        }
        let is_here = |method: &Method| Arc::ptr_eq(method.route(), route);
        let any = match before_any {
            Some(any) if is_here(&any) => any,
            before => Method::new(route.clone(), name.into(), None, before.as_deref()),
        };
        let name = any.service().clone();
        let method = |info: MethodInfo| {
            let before = known.iter().position(|method| method.name() == info.name);
            match before.map(|index| known.swap_remove(index)) {
                Some(same) if same.info() == Some(&info) && is_here(&same) => same,
                before => Method::new(route.clone(), name.clone(), Some(info), before.as_deref()),
            }
        };
        let methods = infos.into_iter().map(method).collect();
        (name, Self { any, methods })
    }
}

/// Whom calls to a service are for when they name no plugin: its only provider, or the only one that is not there to answer in
/// the place of another (`fallback.plugin`). Those that are only expected to provide it count when nobody does.
fn first<'a>(plugins: &'a BTreeMap<PluginName, Entry>, service: &str) -> Option<&'a Arc<Method>> {
    let providers = || plugins.values().filter_map(|entry| entry.services.get(service));
    let is_offered =
        |method: &&Arc<Method>| plugins.get(method.route().plugin()).is_some_and(|entry| entry.is_offered);
    let substitute_of = |method: &'a Arc<Method>| {
        let substitute = method.policy().fallback.plugin.as_ref()?;
        (substitute != method.route().plugin()).then_some(substitute)
    };
    let substitutes: Vec<_> = providers()
        .flat_map(|service| service.methods.iter().chain([&service.any]))
        .filter_map(substitute_of)
        .collect();
    let firsts = providers().map(|service| &service.any);
    let firsts: Vec<_> = firsts.filter(|any| !substitutes.contains(&any.route().plugin())).collect();
    let offered: Vec<_> = firsts.iter().copied().filter(is_offered).collect();
    match if offered.is_empty() { firsts.as_slice() } else { offered.as_slice() } {
        [first] => Some(first),
        _ => None,
    }
}

/// What was known of a method, but for the fixed answer when the policy says another one by now.
fn as_before(route: &Route, service: &str, method: &Method) -> Option<MethodInfo> {
    let mut info = method.info().cloned()?;
    if info.answer.is_some() {
        let policy = route.policies().of(service, Some(&info.name), info.idempotency);
        info.answer = info.answer.filter(|_| policy.fallback.answer == method.policy().fallback.answer);
    }
    Some(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Idempotency;
    use crate::route::RouteSettings;

    fn route() -> Arc<Route> {
        Route::new("demo".parse().unwrap(), RouteSettings::default())
    }

    fn described(names: &[&str]) -> ServiceInfo {
        let method = |name: &&str| MethodInfo {
            name: (*name).to_owned(),
            idempotency: Some(Idempotency::Idempotent),
            streams: false,
            answer: None,
        };
        ServiceInfo { name: "a.B".to_owned(), methods: names.iter().map(method).collect() }
    }

    #[test]
    fn what_is_known_of_methods_stays() {
        let (router, first) = (Router::new(), route());
        router.insert(first.clone(), ["a.B".to_owned()]);
        let any = router.find("/a.B/C", None).unwrap();
        assert!(any.info().is_none() && !any.is_idempotent());
        router.insert(first.clone(), [described(&["C", "D"])]);
        let method = router.find("/a.B/C", None).unwrap();
        assert!(method.is_idempotent() && method.is_unary());
        assert!(Arc::ptr_eq(&router.find("/a.B/Other", None).unwrap(), &any));
        router.insert(first, ["a.B".to_owned()]);
        assert!(Arc::ptr_eq(&router.find("/a.B/C", None).unwrap(), &method), "it remembers");
        router.insert(route(), ["a.B".to_owned()]);
        let after_reload = router.find("/a.B/C", None).unwrap();
        assert!(after_reload.is_idempotent() && !Arc::ptr_eq(after_reload.route(), method.route()));
        assert!(Arc::ptr_eq(after_reload.stats(), method.stats()), "counters go on");
        router.insert(route(), [described(&["D"])]);
        assert!(router.find("/a.B/C", None).unwrap().info().is_none(), "it is gone");
    }

    #[test]
    fn a_method_that_one_of_two_plugins_describes_is_still_ambiguous() {
        let router = Router::new();
        router.insert(route(), [described(&["C"])]);
        router.insert(Route::new("other".parse().unwrap(), RouteSettings::default()), ["a.B".to_owned()]);
        let error = router.find("/a.B/C", None).unwrap_err();
        assert_eq!(error.code(), tonic::Code::FailedPrecondition);
        assert!(router.find("/a.B/C", Some("demo")).unwrap().is_idempotent());
        assert!(!router.find("/a.B/C", Some("other")).unwrap().is_idempotent());
    }

    #[test]
    fn a_service_that_nobody_provides_is_told_from_one_that_nobody_provides_yet() {
        let (router, code) =
            (Router::new(), |router: &Router| router.find("/a.B/C", None).unwrap_err().code());
        let starting = [router.starting(), router.starting()];
        assert_eq!(code(&router), tonic::Code::Unavailable);
        drop(starting);
        assert_eq!(code(&router), tonic::Code::Unimplemented);
    }

    #[test]
    fn a_plugin_that_is_expected_takes_calls_that_nobody_else_takes() {
        let (router, other) = (Router::new(), "other".parse().unwrap());
        router.expect(route(), [described(&[])]);
        let found = || router.find("/a.B/C", None).unwrap().route().plugin().to_string();
        assert_eq!(found(), "demo");
        router.insert(Route::new(other, RouteSettings::default()), [described(&[])]);
        assert_eq!(found(), "other");
        router.insert(route(), [described(&[])]);
        router.expect(route(), ["x.Y".to_owned()]);
        assert!(router.find("/a.B/C", None).is_err(), "it has come");
        assert!(router.find("/x.Y/Z", None).is_err(), "what it offers is known");
        assert_eq!(router.find("/a.B/C", Some("demo")).unwrap().route().plugin().as_str(), "demo");
    }

    #[test]
    fn a_plugin_that_stands_in_for_another_is_no_choice_unless_named() {
        let with = |plugin: &str, substitute: Option<&str>| {
            let mut said = crate::config::PolicySaid::default();
            said.fallback.plugin = substitute.map(|name| Some(name.parse().unwrap()));
            let policies = crate::config::Policies::default().with(crate::config::SetBy::Host, said);
            Route::new(plugin.parse().unwrap(), RouteSettings { policies, ..RouteSettings::default() })
        };
        let router = Router::new();
        router.insert(with("demo", Some("lite")), [described(&["C"])]);
        router.insert(with("lite", None), [described(&["C", "D"])]);
        let found =
            |path, plugin| router.find(path, plugin).map(|method| method.route().plugin().to_string());
        for path in ["/a.B/C", "/a.B/D", "/a.B/E"] {
            assert_eq!(found(path, None).unwrap(), "demo");
            assert_eq!(found(path, Some("lite")).unwrap(), "lite");
        }
        router.expect(with("third", Some("lite")), [described(&["C"])]);
        assert_eq!(found("/a.B/C", None).unwrap(), "demo", "another one is only expected");
        router.insert(with("third", Some("lite")), [described(&["C"])]);
        assert_eq!(found("/a.B/C", None).unwrap_err().code(), tonic::Code::FailedPrecondition);
        router.remove(&"third".parse().unwrap());
        router.insert(with("lite", Some("demo")), [described(&["C"])]);
        assert_eq!(
            found("/a.B/C", None).unwrap_err().code(),
            tonic::Code::FailedPrecondition,
            "no first one"
        );
    }
}
