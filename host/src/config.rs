//! `plugmesh.yaml` and `plugin.yaml` as plain data.
//!
//! Reading is parse, decode, assemble: a file becomes a tree whose every node knows its line and column
//! (`yaml`), a decoder turns the tree into types and notes each fault it meets instead of stopping at
//! the first (`decode`), and [`assemble()`] lays what the host says over what the manifests say. Nothing
//! here opens a socket or starts a process; what is read beside the files themselves (environment
//! variables, files that hold secrets) comes in through a [`Context`].
//!
//! - [`Config`]: `plugmesh.yaml`, what one host runs.
//! - [`Manifest`]: `plugin.yaml`, what a plugin says about itself.
//! - [`PluginConfig`]: both together, what the supervisor works from.
//! - [`search()`]: finds manifests below directories.
//! - [`dependency`]: in which order plugins start, and why some cannot.
//! - [`schema`]: a plugin's JSON Schema against its configuration.
//! - [`ConfigError`]: all faults of one file, each as `file:line:column: key: problem (hint)`.

mod address;
mod assemble;
mod command;
mod context;
mod decode;
pub mod defaults;
pub mod dependency;
mod fault;
mod glob;
mod host;
mod instances;
mod json;
mod manifest;
mod needs;
mod options;
mod plugin;
mod policy;
pub mod schema;
mod search;
mod secret;
mod size;
mod yaml;

#[cfg(test)]
mod tests;

pub use address::{ClientTls, Endpoint, HostPort, InvalidEndpoint, ServerCheck};
pub use assemble::{Assembly, assemble};
pub use command::{BuildCommand, BuildConfig, CommandLine, Program};
pub use context::{Context, Platform};
pub use fault::{ConfigError, Fault, Position};
pub use glob::Glob;
pub use host::{
    AdminConfig, Config, EventsConfig, Fsync, GatewayConfig, GatewayLimits, JournalConfig, LogConfig,
    LogFormat, NatsConfig, NatsTls, Origin, OtlpConfig, PluginEntry, PluginsConfig, RedeliveryConfig,
    ServerTls, TcpConfig, TcpSecurity, TelemetryConfig, TopicConfig, TracesConfig,
};
pub use instances::{InstanceCount, Instances, Scale};
pub use json::JsonConfig;
pub use manifest::Manifest;
pub use needs::{find_program, missing_tools};
pub use options::{PluginOptions, Requirement, Transport};
pub use plugin::{PluginConfig, ProcessConfig, RemoteConfig, Source};
pub use policy::{
    Balance, Balancing, BalancingSaid, Cache, CacheSaid, CircuitBreaker, CircuitBreakerSaid, Concurrency,
    ConcurrencySaid, Connection, ConnectionSaid, Fallback, FallbackSaid, HealthCheck, HealthCheckSaid,
    Hedging, HedgingDelay, HedgingSaid, Idempotency, InvalidTarget, Locality, Member, Panic, Policies,
    Policy, PolicySaid, PolicyTarget, RateLimit, RateLimitSaid, Restart, RestartSaid, Retry, RetrySaid,
    SetBy, Setting, Which,
};
pub use search::{Found, MANIFEST_FILE, Unreadable, search};
pub(crate) use search::{file_of, is_skipped};
pub use secret::Secret;
pub use size::{ByteSize, InvalidSize};
