//! Keys that a manifest sets and `plugmesh.yaml` may set anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use plugmesh::event::Pattern;
use semver::{Version, VersionReq};

use super::decode::{
    Decoder, Section, boolean, duration, list, map, parsed, path, scalar_text, secret, size, string, text,
    version,
};
use super::defaults::{MAX_ENTRIES, MESSAGE_SIZES, TIMEOUTS};
use super::fault::quote;
use super::instances::{Instances, instances};
use super::json::{JsonConfig, json};
use super::policy::{self, PolicySaid, PolicyTarget};
use super::secret::Secret;
use super::size::ByteSize;
use super::yaml::{Data, Node};
use crate::name::PluginName;

/// What both files may say about a plugin. None and empty mean: not said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginOptions {
    /// Version of the plugin.
    pub version: Option<Version>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it runs at all.
    pub enabled: Option<bool>,
    /// Copies that run.
    pub instances: Option<Instances>,
    /// Variables for its processes.
    pub env: BTreeMap<String, Secret>,
    /// Its own configuration.
    pub config: Option<JsonConfig>,
    /// How its calls and instances are treated.
    pub policy: PolicySaid,
    /// How calls to some of its services and methods are treated.
    pub policies: BTreeMap<PolicyTarget, PolicySaid>,
    /// Largest message of a call.
    pub max_message_size: Option<ByteSize>,
    /// From spawn to ready.
    pub start_timeout: Option<Duration>,
    /// From the order to stop to the kill.
    pub drain_timeout: Option<Duration>,
    /// gRPC services, fully qualified, for plugins without reflection.
    pub services: Option<Vec<String>>,
    /// File with a `FileDescriptorSet`, for plugins without reflection.
    pub descriptor_set: Option<PathBuf>,
    /// Plugins that it depends on.
    pub requires: Option<Vec<Requirement>>,
    /// Topics that it may publish; none for all.
    pub may_publish: Option<Vec<Pattern>>,
    /// Topics that it may subscribe to; none for all.
    pub may_subscribe: Option<Vec<Pattern>>,
}

/// How the host reaches the processes that it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A Unix socket in the run directory.
    #[default]
    Unix,
    /// Mutual TLS on a loopback port, with certificates made for each launch.
    Tcp,
}

/// A plugin that another one depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its name.
    pub plugin: PluginName,
    /// The versions that will do; `*` when any will.
    pub version: VersionReq,
    /// Whether it may be absent. When it is there, its version must fit all the same.
    pub optional: bool,
}

impl PluginOptions {
    /// These options with `over` on top: single values and lists are replaced, labels and variables merge
    /// by name, the configuration merges as a JSON merge patch.
    #[must_use]
    pub fn overridden(mut self, over: &Self) -> Self {
        fn replace<T: Clone>(value: &mut Option<T>, over: &Option<T>) {
            if over.is_some() {
                value.clone_from(over);
            }
        }
        replace(&mut self.version, &over.version);
        replace(&mut self.enabled, &over.enabled);
        replace(&mut self.instances, &over.instances);
        replace(&mut self.max_message_size, &over.max_message_size);
        replace(&mut self.start_timeout, &over.start_timeout);
        replace(&mut self.drain_timeout, &over.drain_timeout);
        replace(&mut self.services, &over.services);
        replace(&mut self.descriptor_set, &over.descriptor_set);
        replace(&mut self.requires, &over.requires);
        replace(&mut self.may_publish, &over.may_publish);
        replace(&mut self.may_subscribe, &over.may_subscribe);
        self.policy = self.policy.overridden(&over.policy);
        for (target, said) in &over.policies {
            let below = self.policies.remove(target).unwrap_or_default();
            self.policies.insert(target.clone(), below.overridden(said));
        }
        self.labels.extend(over.labels.clone());
        self.env.extend(over.env.clone());
        self.config = match (self.config, &over.config) {
            (Some(config), Some(over)) => Some(config.patched(over)),
            (config, over) => over.clone().or(config),
        };
        self
    }
}

/// Takes the shared keys out of a section.
pub(super) fn options(d: &mut Decoder<'_>, section: &mut Section<'_>) -> PluginOptions {
    let timeout = |d: &mut Decoder<'_>, node: &Node| duration(d, node, &TIMEOUTS);
    let (may_publish, may_subscribe) = section.optional(d, "events", events).unwrap_or_default();
    PluginOptions {
        version: section.optional(d, "version", version),
        labels: section.optional(d, "labels", labels).unwrap_or_default(),
        enabled: section.optional(d, "enabled", boolean),
        instances: section.optional(d, "instances", instances),
        env: section.optional(d, "env", env).unwrap_or_default(),
        config: section.any(d, "config", json),
        policy: policy::read_plugin(d, section),
        policies: section.optional(d, "policies", policy::policies).unwrap_or_default(),
        max_message_size: section.optional(d, "max_message_size", |d, node| size(d, node, &MESSAGE_SIZES)),
        start_timeout: section.optional(d, "start_timeout", timeout),
        drain_timeout: section.optional(d, "drain_timeout", timeout),
        services: section.optional(d, "services", |d, node| list(d, node, MAX_ENTRIES, service)),
        descriptor_set: section.optional(d, "descriptor_set", path),
        requires: section.optional(d, "requires", |d, node| list(d, node, MAX_ENTRIES, requirement)),
        may_publish,
        may_subscribe,
    }
}

/// Topics that a plugin may publish, and that it may subscribe to.
type Topics = (Option<Vec<Pattern>>, Option<Vec<Pattern>>);

fn events(d: &mut Decoder<'_>, node: &Node) -> Option<Topics> {
    let mut section = Section::open(d, node)?;
    let patterns = |d: &mut Decoder<'_>, node: &Node| list(d, node, MAX_ENTRIES, parsed);
    let publish = section.optional(d, "publish", patterns);
    let subscribe = section.optional(d, "subscribe", patterns);
    section.finish(d);
    Some((publish, subscribe))
}

fn labels(d: &mut Decoder<'_>, node: &Node) -> Option<BTreeMap<String, String>> {
    map::<String, _>(d, node, MAX_ENTRIES, scalar_text)
}

/// Name of an environment variable that a manifest may set.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Variable(String);

impl FromStr for Variable {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(good) {
            return Err(format!("{} is not a name for a variable: use letters, digits and '_'", quote(name)));
        }
        if name.starts_with("PLUGMESH_") {
            return Err(format!("{name} is the host's to set: names that start with PLUGMESH_ are reserved"));
        }
        Ok(Self(name.into()))
    }
}

fn env(d: &mut Decoder<'_>, node: &Node) -> Option<BTreeMap<String, Secret>> {
    let variables = map::<Variable, _>(d, node, MAX_ENTRIES, secret)?;
    Some(variables.into_iter().map(|(Variable(name), value)| (name, value)).collect())
}

/// Whether this is an identifier of the Protobuf language.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether this is a full name: identifiers joined by dots.
pub(super) fn is_service_name(name: &str) -> bool {
    name.split('.').all(is_identifier)
}

/// A fully qualified service.
fn service(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    let name = string(d, node)?;
    if !is_service_name(&name) {
        let problem = format!("{} is not the name of a service", quote(&name));
        return d.refuse_with(
            node,
            problem,
            "write it fully qualified, such as acme.billing.v1.InvoiceService",
        );
    }
    Some(name)
}

/// `name`, `name ^1.2`, or a mapping.
fn requirement(d: &mut Decoder<'_>, node: &Node) -> Option<Requirement> {
    if let Data::Map(_) = node.data {
        let mut section = Section::open(d, node)?;
        let plugin = section.required(d, "plugin", parsed);
        let version = section.optional(d, "version", |d, node| {
            let written = text(d, node)?;
            range(d, node, written)
        });
        let optional = section.optional(d, "optional", boolean);
        let faulty = section.has("version") && version.is_none();
        section.finish(d);
        let version = version.unwrap_or(VersionReq::STAR);
        return Some(Requirement { plugin: plugin?, version, optional: optional.unwrap_or(false) })
            .filter(|_| !faulty);
    }
    let written = text(d, node)?.trim();
    let (name, version) = written.split_once(char::is_whitespace).unwrap_or((written, "*"));
    let plugin = match name.parse() {
        Ok(plugin) => Some(plugin),
        Err(why) => d.refuse(node, why),
    };
    let version = range(d, node, version.trim());
    Some(Requirement { plugin: plugin?, version: version?, optional: false })
}

fn range(d: &mut Decoder<'_>, node: &Node, written: &str) -> Option<VersionReq> {
    written
        .parse()
        .map_err(|why| {
            let problem = format!("{} is not a range of SemVer versions: {why}", quote(written));
            d.fault(node.at, problem, Some("such as ^1.2, \">=1.2, <3\" or *".into()));
        })
        .ok()
}
