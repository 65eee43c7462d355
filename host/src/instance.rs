//! One copy of a plugin: who it is, what it offers, how it is doing.
//!
//! Everything here talks to one [`Endpoint`](crate::route::Endpoint), over the same connection that calls
//! will use. The order in which it is used is the supervisor's business.

mod describe;
mod handshake;
mod health;
mod phases;

pub use describe::{DescribeError, Description, describe};
pub(crate) use handshake::is_transport;
pub use handshake::{Dependency, HandshakeError, Hello, Introduction, Refusal, Tier, handshake};
pub use health::{Health, HealthError, HealthWatch};
pub use phases::{PhaseError, Phases};

/// Whether this can be the full name of a service: identifiers of protobuf, with dots between.
pub(crate) fn is_service_name(name: &str) -> bool {
    let is_identifier = |part: &str| {
        !part.starts_with(|c: char| c.is_ascii_digit())
            && !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.split('.').all(is_identifier)
}

/// Services by which the mesh controls a plugin, or which every server has: never routed to a plugin.
pub fn is_control_service(service: &str) -> bool {
    service.starts_with("grpc.health.")
        || service.starts_with("grpc.reflection.")
        || service.starts_with("plugin.GRPC")
        || matches!(service, "plugmesh.plugin.v1.PluginService" | "plugmesh.event.v1.EventSinkService")
}
