//! One plugin as the host runs it: the manifest, what `plugmesh.yaml` says over it, and the defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use plugmesh::event::Pattern;
use semver::Version;

use super::address::Endpoint;
use super::command::{BuildConfig, CommandLine};
use super::defaults::{PLUGIN_DRAIN_TIMEOUT, START_TIMEOUT};
use super::host::Config;
use super::instances::{InstanceCount, Scale};
use super::json::JsonConfig;
use super::manifest::Manifest;
use super::options::{PluginOptions, Requirement, Transport};
use super::policy::{Policies, SetBy};
use super::secret::Secret;
use super::size::ByteSize;
use crate::name::PluginName;

/// Everything the supervisor needs to know about a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// Its name.
    pub name: PluginName,
    /// Its version, if a file gives one; the handshake may tell later.
    pub version: Option<Version>,
    /// What it does, for people.
    pub description: String,
    /// Who made it.
    pub author: String,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Where its instances come from.
    pub source: Source,
    /// How calls to it are treated.
    pub policies: Policies,
    /// Largest message of a call.
    pub max_message_size: ByteSize,
    /// gRPC services, for plugins without reflection.
    pub services: Vec<String>,
    /// File with a `FileDescriptorSet`, for plugins without reflection; absolute.
    pub descriptor_set: Option<PathBuf>,
    /// Plugins that it depends on.
    pub requires: Vec<Requirement>,
    /// Topics that it may publish; none for all.
    pub may_publish: Option<Vec<Pattern>>,
    /// Topics that it may subscribe to; none for all.
    pub may_subscribe: Option<Vec<Pattern>>,
    /// Its own configuration; an empty object when no file gives any.
    pub config: JsonConfig,
    /// From spawn to ready.
    pub start_timeout: Duration,
    /// From the order to stop to the kill.
    pub drain_timeout: Duration,
    /// How the number of its processes follows the load; `None` when it is fixed.
    pub scale: Option<Scale>,
    /// Whether it runs.
    pub enabled: bool,
    /// The manifest it comes from, absolute.
    pub manifest: Option<PathBuf>,
    /// Tools that must be on `PATH`, or it is skipped; see [`missing_tools`](super::missing_tools).
    pub needs: Vec<String>,
}

/// Where instances come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The host starts them.
    Process(Box<ProcessConfig>),
    /// They run elsewhere.
    Remote(RemoteConfig),
    /// The host itself provides the services: there is one instance, as long as the host runs.
    InProcess,
}

/// Instances that the host starts.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessConfig {
    /// What to run.
    pub command: CommandLine,
    /// Variables beside the minimal environment.
    pub env: BTreeMap<String, Secret>,
    /// Working directory, absolute.
    pub dir: PathBuf,
    /// What to run before, when its outputs are not up to date.
    pub build: Option<BuildConfig>,
    /// How many copies, at first when the number follows the load.
    pub instances: InstanceCount,
    /// How the host reaches them.
    pub transport: Transport,
}

/// Instances that run elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Their addresses, one instance each; at least one when it was read from a file.
    pub endpoints: Vec<Endpoint>,
}

impl PluginConfig {
    /// The plugin of a manifest, with `over` on top and the host's defaults below.
    pub fn from_manifest(manifest: Manifest, over: &PluginOptions, host: &Config) -> Self {
        let Manifest { file, name, description, author, command, dir, build, transport, needs, options } =
            manifest;
        let policies = Policies::default()
            .with(SetBy::Host, host.policy.clone())
            .with(SetBy::Manifest, options.policy.clone())
            .with(SetBy::Plugin, over.policy.clone())
            .with_targets(&options.policies)
            .with_targets(&over.policies);
        let mut options = options.overridden(over);
        let env = std::mem::take(&mut options.env);
        let instances = options.instances.unwrap_or_default().first();
        let process = ProcessConfig { command, env, dir, build, instances, transport };
        let source = Source::Process(Box::new(process));
        Self {
            description,
            author,
            manifest: Some(file),
            needs,
            policies,
            ..Self::new(name, source, options, host)
        }
    }

    /// A plugin that runs elsewhere.
    pub fn remote(name: PluginName, remote: RemoteConfig, options: PluginOptions, host: &Config) -> Self {
        Self::new(name, Source::Remote(remote), options, host)
    }

    /// A plugin from code: without a manifest, with the defaults of `host` for what `options` leaves open.
    /// The environment and the instance count are those of `source`, unless the options say that the count follows
    /// the load.
    pub fn new(name: PluginName, source: Source, options: PluginOptions, host: &Config) -> Self {
        Self {
            name,
            version: options.version,
            description: String::new(),
            author: String::new(),
            labels: options.labels,
            source,
            policies: Policies::default()
                .with(SetBy::Host, host.policy.clone())
                .with(SetBy::Plugin, options.policy)
                .with_targets(&options.policies),
            max_message_size: options.max_message_size.unwrap_or(host.max_message_size),
            services: options.services.unwrap_or_default(),
            descriptor_set: options.descriptor_set,
            requires: options.requires.unwrap_or_default(),
            may_publish: options.may_publish,
            may_subscribe: options.may_subscribe,
            config: options.config.unwrap_or_default(),
            start_timeout: options.start_timeout.unwrap_or(START_TIMEOUT),
            drain_timeout: options.drain_timeout.unwrap_or(PLUGIN_DRAIN_TIMEOUT),
            scale: options.instances.and_then(|instances| instances.scale()),
            enabled: options.enabled.unwrap_or(true),
            manifest: None,
            needs: Vec::new(),
        }
    }
}
