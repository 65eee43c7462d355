//! What a host tells of itself: metrics and traces.
//!
//! Nothing here is on the path of a call. Calls touch the sharded counters of [`crate::route`] and of the gateway and
//! know no exporter; whoever asks for metrics gets a [`Metrics`], read from those counters at that moment, and each
//! way out is a view of it:
//!
//! - `prometheus`: the text of `GET /metrics`;
//! - `otlp`: what is pushed to a collector;
//! - `bridge`: observable instruments of a meter provider that the program brings.
//!
//! Spans are made where calls are, by [`crate::span`], and end up with whatever subscriber the program has. [`Traces`] is
//! the one that sends them to a collector.

mod bridge;
mod catalogue;
mod metrics;
mod otlp;
mod prometheus;
mod read;

pub(crate) use bridge::register;
pub use metrics::{Family, Histogram, Kind, Labels, Metrics, Value};
pub(crate) use otlp::Push;
pub use otlp::{Collector, CollectorError, Traces};
pub(crate) use prometheus::CONTENT_TYPE as TEXT_TYPE;
pub(crate) use read::Source;
