//! One copy of a plugin: who it is, what it offers, how it is doing.
//!
//! Everything here talks to one [`Endpoint`](crate::route::Endpoint), over the same connection that calls
//! will use. The order in which it is used is the supervisor's business.

mod capability;
mod describe;
mod handshake;
mod health;
mod phases;

use crate::code::code_name;

pub use describe::{DescribeError, Description, describe};
pub(crate) use handshake::is_transport;
pub use handshake::{Dependency, HandshakeError, Hello, Introduction, Refusal, Tier, handshake};
pub use health::{Health, HealthError, HealthWatch, check as check_health};
pub use phases::{PhaseError, Phases};

/// Bytes of a plugin's own words that an error repeats.
const MAX_WORDS: usize = 1024;

/// A status that a plugin gave, as `CODE: message`. The message is its own text: control characters are
/// escaped, lest it moves the cursor of a terminal or forges lines of the host.
pub(crate) fn words(status: &tonic::Status) -> String {
    let mut text = format!("{}: ", code_name(status.code()));
    for c in status.message().chars() {
        if text.len() > MAX_WORDS {
            text.push('…');
            break;
        }
        match c.is_control() {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

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
