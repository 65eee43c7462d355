//! The layers that a plugin's policy comes from.

use std::collections::BTreeMap;
use std::fmt;

use super::section::Said;
use super::{Idempotency, Policy, PolicySaid, PolicyTarget, each_section};

/// Where a value was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetBy {
    /// Nowhere.
    Default,
    /// At the top level of `plugmesh.yaml`.
    Host,
    /// In the manifest.
    Manifest,
    /// In the plugin's entry in `plugmesh.yaml`.
    Plugin,
    /// In the descriptor of the method.
    Descriptor,
    /// Below `policies`, for the service.
    Service,
    /// Below `policies`, for the method.
    Method,
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Host => "host",
            Self::Manifest => "manifest",
            Self::Plugin => "plugin",
            Self::Descriptor => "descriptor",
            Self::Service => "service",
            Self::Method => "method",
        })
    }
}

/// One value of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key, such as `retry.max_retries`.
    pub key: String,
    /// Its value, as it may be written in a file.
    pub value: String,
    /// Where it was said.
    pub set_by: SetBy,
}

/// Everything that is said of the calls to one plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies {
    plugin: Vec<(SetBy, PolicySaid)>,
    targets: BTreeMap<PolicyTarget, PolicySaid>,
}

impl Policies {
    /// What `said` says of the whole plugin, over the layers there are.
    #[must_use]
    pub fn with(mut self, set_by: SetBy, said: PolicySaid) -> Self {
        self.plugin.push((set_by, said));
        self
    }

    /// What is said of services and methods, over what was.
    #[must_use]
    pub fn with_targets(mut self, targets: &BTreeMap<PolicyTarget, PolicySaid>) -> Self {
        for (target, said) in targets {
            let below = self.targets.remove(target).unwrap_or_default();
            self.targets.insert(target.clone(), below.overridden(said));
        }
        self
    }

    /// The services and methods of which something is said.
    pub fn targets(&self) -> impl Iterator<Item = &PolicyTarget> {
        self.targets.keys()
    }

    /// What holds for the plugin where nothing else is said.
    pub fn of_plugin(&self) -> Policy {
        self.decide(&self.layers(None, None))
    }

    /// What holds for a method, or for the methods of a service of which nothing is known.
    /// `idempotency` is what the method's descriptor says.
    pub fn of(&self, service: &str, method: Option<&str>, idempotency: Option<Idempotency>) -> Policy {
        self.with_descriptor(service, method, idempotency, |layers| self.decide(layers))
    }

    /// The same, value by value, with where each was said.
    pub fn settings(
        &self,
        service: &str,
        method: Option<&str>,
        idempotency: Option<Idempotency>,
    ) -> Vec<Setting> {
        self.with_descriptor(service, method, idempotency, |layers| settings(&self.decide(layers), layers))
    }

    /// The layers of a method, with what its descriptor says in its place among them.
    fn with_descriptor<T>(
        &self,
        service: &str,
        method: Option<&str>,
        idempotency: Option<Idempotency>,
        look: impl FnOnce(&[(SetBy, &PolicySaid)]) -> T,
    ) -> T {
        let said = PolicySaid { idempotency, ..PolicySaid::default() };
        let mut layers = self.layers(Some(service), method);
        let place = layers.iter().take_while(|(set_by, _)| *set_by < SetBy::Descriptor).count();
        layers.insert(place, (SetBy::Descriptor, &said));
        look(&layers)
    }

    /// What holds for the plugin, value by value.
    pub fn plugin_settings(&self) -> Vec<Setting> {
        settings(&self.of_plugin(), &self.layers(None, None))
    }

    /// The strongest layer below `service` that says anything of a section, such as `rate_limit`: whose it is.
    pub fn scope_of(&self, section: &str, service: &str, method: Option<&str>) -> SetBy {
        strongest(&self.layers(Some(service), method), |said| said.says_anything(section))
    }

    /// Where the value of one key was said, for a method or for the methods of a service of which nothing is known.
    pub fn set_by(&self, section: &str, key: &str, service: &str, method: Option<&str>) -> SetBy {
        strongest(&self.layers(Some(service), method), |said| said.says(section, key))
    }

    fn layers(&self, service: Option<&str>, method: Option<&str>) -> Vec<(SetBy, &PolicySaid)> {
        let target = |method: Option<&str>| {
            let target = PolicyTarget { service: service?.to_owned(), method: method.map(str::to_owned) };
            self.targets.get(&target)
        };
        let plugin = self.plugin.iter().map(|(set_by, said)| (*set_by, said));
        let service = target(None).map(|said| (SetBy::Service, said));
        let method = method.and_then(|method| target(Some(method))).map(|said| (SetBy::Method, said));
        plugin.chain(service).chain(method).collect()
    }

    fn decide(&self, layers: &[(SetBy, &PolicySaid)]) -> Policy {
        let mut policy = Policy::default();
        for (_, said) in layers {
            said.apply(&mut policy);
        }
        policy
    }
}

/// Whose the strongest layer is that `says` so.
fn strongest(layers: &[(SetBy, &PolicySaid)], says: impl Fn(&PolicySaid) -> bool) -> SetBy {
    layers.iter().rev().find(|(_, said)| says(said)).map_or(SetBy::Default, |(set_by, _)| *set_by)
}

fn settings(policy: &Policy, layers: &[(SetBy, &PolicySaid)]) -> Vec<Setting> {
    let set_by = |section: &str, key: &str| strongest(layers, |said| said.says(section, key));
    let mut settings = vec![Setting {
        key: "idempotency".to_owned(),
        value: policy.idempotency.to_string(),
        set_by: set_by("idempotency", ""),
    }];
    macro_rules! list {
        ($($section:ident),*) => { $(
            settings.extend(shown_by(|said: &PolicySaid| &said.$section, &policy.$section).into_iter().map(
                |(key, value)| Setting {
                    key: format!("{}.{key}", stringify!($section)),
                    value,
                    set_by: set_by(stringify!($section), key),
                },
            ));
        )* };
    }
    each_section!(list);
    settings
}

/// `S::shown`, where `S` is what a layer says of the section.
fn shown_by<S: Said>(_: impl Fn(&PolicySaid) -> &S, section: &S::Section) -> Vec<(&'static str, String)> {
    S::shown(section)
}

impl PolicySaid {
    fn says_anything(&self, section: &str) -> bool {
        macro_rules! says {
            ($($section:ident),*) => {
                match section {
                    $( stringify!($section) => !self.$section.said().is_empty(), )*
                    _ => false,
                }
            };
        }
        each_section!(says)
    }
}
