//! The `plugmesh` command as people and scripts meet it: the real binary against a host that answers what
//! the test says. Whole outputs are compared.
//!
//! - `support`: that host, and running the binary. `admin`: commands about plugins.
//! - `call`: calling methods. `offline`: what works without a host, and what happens when there is none.
//! - `tcp`: hosts on TCP, with and without TLS.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it skips, and fails by panicking"
)]

#[path = "cli/admin.rs"]
mod admin;
#[path = "cli/call.rs"]
mod call;
#[path = "cli/offline.rs"]
mod offline;
#[path = "cli/support.rs"]
mod support;
#[path = "cli/tcp.rs"]
mod tcp;
