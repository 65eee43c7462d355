//! The plugmesh contract: what a host and a plugin say to each other.
//!
//! - [`plugin`]: `PluginService`, served by plugins: handshake, lifecycle phases, drain.
//! - [`admin`]: `AdminService`, served by hosts: list, watch, load, drain, explain and so on.
//! - [`event`]: `EventBusService`, served by hosts, and `EventSinkService`, served by plugins: events both ways.
//! - [`cloudevents`]: what an event is.
//! - [`env`](mod@env): the environment variables that a host sets for a plugin it launches.
//! - [`metadata`]: the gRPC metadata keys that the mesh gives a meaning to.
//! - [`time`]: spans of time in messages. [`causes`]: what led to an error, for the texts of statuses.
//! - [`FILE_DESCRIPTOR_SET`]: the descriptors of all of it, for server reflection.
//!
//! The messages are documented in the `.proto` files beside this one, whose comments are carried over
//! here. Most people want `plugmesh-host` (link a host) or `plugmesh-sdk` (write a plugin) instead.

pub mod causes;
pub mod cloudevents;
pub mod env;
pub mod event;
pub mod metadata;
pub mod time;
mod wire;

pub use wire::WireError;

/// Handshake, lifecycle phases and drain: package `plugmesh.plugin`.
pub mod plugin {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("plugmesh.plugin.v1");
    }
}

/// Managing a running host: package `plugmesh.admin`.
pub mod admin {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("plugmesh.admin.v1");
    }
}

/// Encoded `google.protobuf.FileDescriptorSet` of the contract with everything it imports.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugmesh.bin"));

/// The contract, as [`ContractVersions`](plugin::v1::ContractVersions) names it, of [`plugin::v1`].
pub const PLUGIN_CONTRACT: &str = "plugmesh.plugin";

/// The capability of a plugin that takes part in events: the host attaches it to the bus.
pub const EVENT_CAPABILITY: &str = "plugmesh.event";

/// Largest handshake answer that a host accepts, in bytes: it is read whole before anything about the
/// plugin is known.
pub const MAX_HANDSHAKE_BYTES: usize = 1 << 20;
