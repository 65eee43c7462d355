//! Write a plugmesh plugin: a name, a version, tonic services, [`serve`](Plugin::serve).
//!
//! ```no_run
//! # use plugmesh_sdk::{Error, Plugin};
//! # fn service() -> tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health> {
//! #     tonic_health::server::health_reporter().1
//! # }
//! fn main() -> Result<(), Error> {
//!     Plugin::new("calculator", env!("CARGO_PKG_VERSION"))
//!         .description("Does sums")
//!         .service(service())
//!         .run()
//! }
//! ```
//!
//! What a plugin gets for that:
//!
//! - It listens where the host says, or on a printed address when a person started it ([`Plugin::serve`]).
//! - It serves the plugin contract, health (`""` and per service) and reflection (v1 and v1alpha) beside
//!   its own services.
//! - It drains on SIGTERM, SIGINT, when the host asks, when the host dies, and after an idle time if wanted.
//! - A handler that panics answers `INTERNAL`; the process lives on.
//! - It logs JSON lines to stderr, which the host reads.
//! - [`Lifecycle`]: what to do with the configuration, before the first call, and after the last.
//! - [`Context`]: the way to other plugins and to the host, with deadline and trace carried along.
//!
//! Everything it needs to know comes from the environment variables in [`plugmesh::env`](mod@plugmesh::env).

mod call;
mod context;
mod control;
mod error;
pub mod events;
mod gateway;
mod in_flight;
mod lifecycle;
mod lifeline;
mod listen;
mod logging;
mod plugin;
mod serve;
mod service;
mod settings;
mod standalone;

pub use call::Call;
pub use context::Context;
pub use error::Error;
pub use gateway::Gateway;
pub use lifecycle::Lifecycle;
pub use logging::LOG;
pub use plugin::Plugin;

/// The contract, for what this crate's own types do not cover.
pub use plugmesh;
/// JSON, for [`Plugin::config_schema`] and [`Plugin::capability`].
pub use serde_json::{Value, json};

/// What a lifecycle phase fails with: any error, so that `?` works, or a text by `"…".into()`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
