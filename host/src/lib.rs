//! The plugmesh host: finds plugins, starts or dials them, balances calls over their instances, and
//! serves them all through one gateway.
//!
//! The rooms, from the ground up; each may use those above it in this list:
//!
//! - [`name`]: the names that everything else is keyed by.
//! - [`spiffe`]: names of workloads in certificates.
//! - [`config`]: `plugmesh.yaml` and `plugin.yaml` as plain data; every fault is reported, not the first.
//! - [`build`]: makes a plugin from its sources when they changed.
//! - [`identity`]: certificates, SPIFFE IDs, peer credentials.
//! - [`transport`]: one connection to one endpoint.
//! - `resilience`: the algorithms of breakers, budgets, limits and balancing: time and numbers only.
//! - `event`: events that are published, kept and delivered.
//! - [`span`]: spans of calls, and the trace context in their metadata.
//! - [`launch`]: child processes: run directory, environment, output, readiness, death.
//! - [`route`]: from a gRPC service to one endpoint: snapshot, balancing, the [`route::Channel`].
//! - [`instance`]: one copy of a plugin: handshake, phases, health.
//! - [`supervise`]: a plugin as a set of instances: start, restart, drain, dependencies.
//! - [`gateway`]: the host's own listening side.
//! - [`telemetry`]: metrics and traces of all that, for those who watch.
//! - [`admin`]: the `AdminService` of a host.
//! - [`host`]: all of it put together: start here, with [`Host::builder`].

pub mod admin;
pub mod build;
#[doc(hidden)]
pub mod cli;
pub mod closest;
mod code;
pub mod config;
mod event;
pub mod events;
pub mod gateway;
pub mod host;
pub mod identity;
pub mod instance;
pub mod launch;
pub mod name;
mod resilience;
pub mod route;
pub mod span;
pub mod spiffe;
pub mod supervise;
pub mod telemetry;
pub mod transport;

pub use host::{Host, HostBuilder, HostError, Problem};

/// What crosses a service seam when no narrower type fits.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
