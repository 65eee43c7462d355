//! OTLP over gRPC: what a collector is sent.
//!
//! Written against the collector's contract, with the messages of `opentelemetry-proto`, and not with the exporters of the
//! SDK: these take histograms only from instruments that each call would have to touch.

mod client;
mod metrics;
mod push;
mod traces;

pub use client::{Collector, CollectorError};
pub(crate) use push::Push;
pub use traces::Traces;

#[cfg(test)]
mod tests;
