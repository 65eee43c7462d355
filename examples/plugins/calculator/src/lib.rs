//! The calculator: its generated messages, client and server, and the service itself.

pub mod details;
mod service;

pub use service::Calculator;

/// Package `calculator.v1`.
#[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("calculator.v1");
}

/// Encoded `FileDescriptorSet` of the proto, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/calculator.bin"));

/// Largest message that the plugin takes and sends, in bytes: the mesh allows 64 MiB unless told otherwise,
/// tonic 4 MiB.
pub const MAX_MESSAGE: usize = 64 << 20;
