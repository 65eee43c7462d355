//! Black-box tests of the `plugmesh` command with real plugins.
//!
//! - `serve`: start, summary, lock, ends, bad plugins, faulty configuration
//! - `grpcurl`: on plugin sockets, through the gateway, over TCP with and without TLS; who may administer
//! - `kills`: SIGKILL of the daemon, of its guardian and of a linked host leaves nothing
//! - `restart`: an instance that dies comes back, and calls find their way
//! - `supervise`: instances that hang or keep dying, and their number
//! - `balance`: calls over instances by counts, through the library
//! - `health`: an instance that is unwell is not picked
//! - `calls`: what the gateway forwards
//! - `callbacks`: plugins that call plugins and the host
//! - `telemetry`: metrics, traces, and who gets them
//! - `operate`: attach, drain, enable, disable, load, unload, reload
//! - `resilience`: what a stock client sees of instances that fail or are slow
//! - `fallback`: what callers get when no instance of a plugin is there
//! - `attach`: plugins that handle events
//! - `event_faults`: bad events, broken streams, journals without room or in pieces
//! - `babble`: streams and calls that say anything
//! - `clock`: durable events of a host whose wall clock is set
//! - `events`: publishing, subscribing, dead letters
//! - `events_cli`: the same with the command line, and statistics
//! - `crash`: durable events through hosts, publishers and members that are killed
//! - `nats`: hosts that share topics through a nats-server, and what becomes of events when either goes
//! - `interop`: the official interoperability client of grpc-go
//! - `http2`: h2spec, and clients that abuse the protocol
//! - `python`: where the example plugins in Python are, and their builds
//! - `text`: the one that changes texts, and a client in Python
//! - `accounts`: the one that publishes events
//! - `embedded`: the example of a program that links the host
//! - `tls`: plugins and endpoints over mutual TLS
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and start programs, also in what they share"
)]

mod accounts;
mod attach;
mod babble;
mod balance;
mod callbacks;
mod calls;
mod clock;
mod crash;
mod embedded;
mod event_faults;
mod events;
mod events_cli;
mod fallback;
mod grpcurl;
mod health;
mod http2;
mod interop;
mod kills;
mod nats;
mod operate;
mod python;
mod resilience;
mod restart;
mod serve;
mod supervise;
mod telemetry;
mod text;
mod tls;
