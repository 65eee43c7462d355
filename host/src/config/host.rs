//! `plugmesh.yaml`: what one host runs, and where it listens.

mod events;
mod gateway;
mod plugins;
mod telemetry;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::context::Context;
use super::decode::{self, Decoder, Section, choice, duration, integer, list, parsed, path, size, text};
use super::defaults::{
    DRAIN_TIMEOUT, HOST_NAME, MAX_ENTRIES, MAX_MESSAGE_SIZE, MESSAGE_SIZES, STARTS, TIMEOUTS,
};
use super::fault::{ConfigError, quote};
use super::policy::{self, PolicySaid};
use super::size::ByteSize;
use super::yaml::Node;
use crate::spiffe::{SpiffeId, TrustDomain};

pub use events::{EventsConfig, Fsync, JournalConfig, NatsConfig, NatsTls, RedeliveryConfig, TopicConfig};
pub use gateway::{GatewayConfig, GatewayLimits, ServerTls, TcpConfig, TcpSecurity};
pub use plugins::{Origin, PluginEntry, PluginsConfig};
pub use telemetry::{OtlpConfig, TelemetryConfig, TracesConfig};

/// A host's configuration, read and checked. Paths in it are absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from; none for one made in code.
    pub file: Option<PathBuf>,
    /// Name of the host, a DNS label.
    pub name: String,
    /// Directory for sockets and other files of this run; none for one below `XDG_RUNTIME_DIR`.
    pub run_dir: Option<PathBuf>,
    /// Where it listens.
    pub gateway: GatewayConfig,
    /// Who may administer it over TCP.
    pub admin: AdminConfig,
    /// How long a shutdown takes at most.
    pub drain_timeout: Duration,
    /// Largest message of a call to a plugin that says nothing else.
    pub max_message_size: ByteSize,
    /// Processes that may start at once; `None` for a number that the cores give.
    pub max_concurrent_starts: Option<u32>,
    /// How calls to plugins that say nothing else are treated.
    pub policy: PolicySaid,
    /// Trust domain of the certificates that it issues.
    pub trust_domain: TrustDomain,
    /// What it logs.
    pub log: LogConfig,
    /// What it tells of itself, and to whom.
    pub telemetry: TelemetryConfig,
    /// How events are carried.
    pub events: EventsConfig,
    /// What it runs.
    pub plugins: PluginsConfig,
}

/// Who may use `AdminService` over TCP; on the Unix socket the owner may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// SPIFFE IDs of client certificates.
    pub identities: Vec<SpiffeId>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or directives such as `info,plugmesh_host::gateway=debug`; checked.
    pub level: String,
    /// How records look.
    pub format: LogFormat,
}

/// How log records look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::default() }
    }
}

/// What an empty file says.
impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            name: HOST_NAME.into(),
            run_dir: None,
            gateway: GatewayConfig::default(),
            admin: AdminConfig::default(),
            drain_timeout: DRAIN_TIMEOUT,
            max_message_size: MAX_MESSAGE_SIZE,
            max_concurrent_starts: None,
            policy: PolicySaid::default(),
            trust_domain: TrustDomain::default(),
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            events: EventsConfig::default(),
            plugins: PluginsConfig::default(),
        }
    }
}

impl Config {
    /// Reads a file with the process's environment.
    ///
    /// # Errors
    ///
    /// Every fault of the file, or why it cannot be read.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(&decode::read_file(file)?, file, &Context::process())
    }

    /// Reads `bytes` as the content of `file`, which need not exist; its folder is what paths are relative to.
    ///
    /// # Errors
    ///
    /// Every fault.
    pub fn parse(bytes: &[u8], file: &Path, context: &Context<'_>) -> Result<Self, ConfigError> {
        decode::decode(bytes, file, context, |d, node| config(d, node, file))
    }
}

pub(super) fn config(d: &mut Decoder<'_>, node: &Node, file: &Path) -> Option<Config> {
    let defaults = Config::default();
    let mut section = Section::open(d, node)?;
    let name = section.optional(d, "name", host_name);
    let run_dir = section.optional(d, "run_dir", path);
    let gateway = section.optional(d, "gateway", gateway::gateway);
    let admin = section.optional(d, "admin", admin);
    let drain_timeout = section.optional(d, "drain_timeout", |d, node| duration(d, node, &TIMEOUTS));
    let max_message_size = section.optional(d, "max_message_size", |d, node| size(d, node, &MESSAGE_SIZES));
    let starts = section.optional(d, "max_concurrent_starts", |d, node| integer(d, node, STARTS));
    let policy = policy::read_plugin(d, &mut section);
    let trust_domain = section.optional(d, "trust_domain", parsed);
    let log = section.optional(d, "log", log);
    let telemetry = section.optional(d, "telemetry", telemetry::telemetry);
    let events = section.optional(d, "events", events::events);
    let plugins = section.optional(d, "plugins", plugins::plugins);
    section.finish(d);
    Some(Config {
        file: Some(std::path::absolute(file).unwrap_or_else(|_| file.into())),
        name: name.unwrap_or(defaults.name),
        run_dir,
        gateway: gateway.unwrap_or_default(),
        admin: admin.unwrap_or_default(),
        drain_timeout: drain_timeout.unwrap_or(defaults.drain_timeout),
        max_message_size: max_message_size.unwrap_or(defaults.max_message_size),
        max_concurrent_starts: starts,
        policy,
        trust_domain: trust_domain.unwrap_or(defaults.trust_domain),
        log: log.unwrap_or_default(),
        telemetry: telemetry.unwrap_or_default(),
        events: events.unwrap_or_default(),
        plugins: plugins.unwrap_or_default(),
    })
}

/// The same rule as for plugins: it goes into certificates.
fn host_name(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    let name = text(d, node)?;
    match name.parse::<crate::name::PluginName>() {
        Ok(_) => Some(name.into()),
        Err(_) => d.refuse_with(
            node,
            format_args!("{} is not a name for a host", quote(name)),
            "use 1 to 63 lower-case letters, digits and '-', starting with a letter",
        ),
    }
}

fn admin(d: &mut Decoder<'_>, node: &Node) -> Option<AdminConfig> {
    let mut section = Section::open(d, node)?;
    let identities = section.optional(d, "identities", |d, node| list(d, node, MAX_ENTRIES, parsed));
    section.finish(d);
    Some(AdminConfig { identities: identities.unwrap_or_default() })
}

fn log(d: &mut Decoder<'_>, node: &Node) -> Option<LogConfig> {
    let mut section = Section::open(d, node)?;
    let level = section.optional(d, "level", |d, node| {
        let level = text(d, node)?;
        match tracing_subscriber::EnvFilter::try_new(level) {
            Ok(_) => Some(level.to_owned()),
            Err(_) => d.refuse_with(
                node,
                format_args!("{} is not a log level", quote(level)),
                "off, error, warn, info, debug, trace, or directives such as info,plugmesh_host::gateway=debug",
            ),
        }
    });
    let format = section.optional(d, "format", |d, node| {
        choice(d, node, &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    section.finish(d);
    let defaults = LogConfig::default();
    Some(LogConfig { level: level.unwrap_or(defaults.level), format: format.unwrap_or_default() })
}
