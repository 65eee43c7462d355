//! Support for black-box tests: the real `plugmesh` binary, real plugins, real tools.
//!
//! ```no_run
//! # use plugmesh_tests::{Daemon, PluginDir, calculator::AddRequest};
//! # async fn test() {
//! let daemon = Daemon::builder().plugin(PluginDir::calculator(3)).start().await;
//! let answer = daemon.calculator().add(AddRequest { a: 1.0, b: 2.0 }).await.unwrap();
//! assert_eq!(answer.into_inner().value, 3.0);
//! # }
//! ```
//!
//! - [`Daemon`]: a running `plugmesh serve` with directories of its own; it ends when dropped.
//! - [`PluginDir`]: a plugin as a directory with a manifest: [`calculator`](PluginDir::calculator),
//!   [`probe`](PluginDir::probe), a [shell script](PluginDir::script), or [any command](PluginDir::command).
//! - [`Neighbour`]: a healthy plugin under calls, which must never notice what a test does to another.
//! - [`Leaks`]: processes, descriptors and sockets before and after.
//! - [`Process`], [`Ran`]: programs that a test starts, and what they left.
//! - [`Collector`]: takes metrics and traces over OTLP.
//! - [`Scrape`]: metrics as Prometheus reads them, and whether it could.
//! - [`tools`]: grpcurl and other tools that not every machine has.
//! - [`NatsServer`]: a nats-server that can be killed and come back.
//! - [`Certificates`]: a certificate authority and the files of hosts and clients.
//! - [`Tunnel`]: mutual TLS for clients that have none.
//! - [`eventually`]: waiting for what has no event, with a bound.
//!
//! Everything here panics when it cannot do its part: a panic is how a test fails.

mod binaries;
mod certificates;
mod collector;
mod daemon;
mod leaks;
mod nats;
mod neighbour;
mod plugin_dir;
mod process;
mod scrape;
pub mod tools;
mod tunnel;
mod wait;

pub use binaries::{binary, binary_with_nats};
pub use certificates::{Certificates, Identity};
pub use collector::{Collector, attribute};
pub use daemon::{Daemon, DaemonBuilder, Patient, connect_unix};
pub use leaks::{Leaks, processes_mentioning};
pub use nats::NatsServer;
pub use neighbour::Neighbour;
pub use plugin_dir::PluginDir;
pub use process::{Process, Ran};
pub use scrape::Scrape;
pub use tunnel::Tunnel;
pub use wait::{DEADLINE, eventually};

/// The calculator's generated code.
pub use ::calculator::v1 as calculator;

/// The probe's generated code.
#[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]
pub mod probe {
    tonic::include_proto!("probe.v1");
}

/// Generated code for the interoperability clients of gRPC.
#[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]
pub mod interop {
    include!(concat!(env!("OUT_DIR"), "/interop.rs"));
}

/// Encoded `FileDescriptorSet`s of the test plugins' protos.
pub mod descriptors {
    /// The probe's.
    pub const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe.bin"));
    /// The interoperability service's.
    pub const INTEROP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/interop.bin"));
}
