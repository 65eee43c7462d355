//! Events between plugins, programs and the host: package `plugmesh.event`.
//!
//! The messages are in [`v1`]. The two that carry events, `Publish` and `Delivery`, have them as their first field and are the second
//! field of the frame that they travel in: [`frame`] reads and writes them without decoding a single event.

pub mod frame;
mod messages;
mod pattern;
pub mod stream;

pub use messages::Messages;
pub use pattern::{BadPattern, Pattern, Token};

/// Version 1.
#[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("plugmesh.event.v1");
}
