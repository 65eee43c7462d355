//! What the benchmarks share. A subject (the folders `call`, `chaos` and `pick`) says which cells it
//! has and what they must reach; everything else is here.
//!
//! - [`cell`]: a cell, what it measures, and the rounds that run all cells interleaved.
//! - [`subject`], [`args`]: the `main` of every subject, and its command line.
//! - [`process`]: the processes of a cell: this executable once more in another role, or a peer.
//! - [`allocator`]: the allocator of a process, chosen when it is started.
//! - [`usage`]: CPU time and memory of processes.
//! - [`load`]: the closed loop of calls, counted and checked.
//! - [`open_loop`]: calls that arrive on a schedule, whatever becomes of those before.
//! - [`journal`]: what was executed, on record whatever happens to the process.
//! - [`judgement`]: what a disturbance did to the calls.
//! - [`histogram`], [`stats`]: latencies within a cell, figures over the rounds.
//! - [`target`]: what must be reached.
//! - [`report`]: tables and JSON.
//! - [`tls`]: certificates of one run.
//! - [`peers`]: configuration of the proxies that are measured beside the gateway.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

pub mod allocator;
pub mod args;
pub mod cell;
pub mod histogram;
pub mod journal;
pub mod judgement;
pub mod load;
pub mod open_loop;
pub mod peers;
pub mod process;
pub mod report;
pub mod stats;
pub mod subject;
pub mod target;
pub mod tls;
pub mod usage;

/// The service that is called.
#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
pub mod echo {
    tonic::include_proto!("plugmesh.bench.v1");
}

/// Its descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo.binpb"));

/// The service that is called while something goes wrong.
#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
pub mod chaos {
    tonic::include_proto!("plugmesh.chaos.v1");
}

/// Its descriptors, which tell which of its methods are idempotent.
pub const CHAOS_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/chaos.binpb"));

/// Why a cell has no figure.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
