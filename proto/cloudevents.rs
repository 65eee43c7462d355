//! CloudEvents 1.0 in their protobuf format: messages of package `io.cloudevents.v1`, and events as bytes.
//!
//! An [`Event`] is the encoded message, checked as a whole when it was made, and not decoded: handing it on costs nothing, and what
//! is asked of it is read in place. [`v1::CloudEvent`] is the generated message, for whoever wants all of it.

mod attribute;
mod builder;
mod check;
mod data;
mod event;
#[cfg(test)]
mod tests;

pub use attribute::Attribute;
pub use builder::{BuildError, Draft, EventBuilder};
pub use check::InvalidEvent;
pub use data::DataError;
pub use event::{Data, Event, EventRef};

/// The generated messages.
#[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("io.cloudevents.v1");
}

/// The only version of the specification that there is in this format.
pub const SPEC_VERSION: &str = "1.0";

/// The extension that says which events must be handled in order: those with the same value.
pub const PARTITION_KEY: &str = "partitionkey";

/// Numbers of the fields of `CloudEvent`, and of the entries of its map of attributes.
mod field {
    pub(super) const ID: u32 = 1;
    pub(super) const SOURCE: u32 = 2;
    pub(super) const SPEC_VERSION: u32 = 3;
    pub(super) const TYPE: u32 = 4;
    pub(super) const ATTRIBUTES: u32 = 5;
    pub(super) const BINARY_DATA: u32 = 6;
    pub(super) const TEXT_DATA: u32 = 7;
    pub(super) const PROTO_DATA: u32 = 8;

    pub(super) const NAME: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}
