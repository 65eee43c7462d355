//! The `plugmesh` command as people and scripts meet it: the real binary against a host that answers what
//! the test says. Whole outputs are compared.
//!
//! - `support`: that host, and running the binary. `admin`: commands about plugins.
//! - `call`: calling methods. `offline`: what works without a host, and what happens when there is none.

#[path = "cli/admin.rs"]
mod admin;
#[path = "cli/call.rs"]
mod call;
#[path = "cli/offline.rs"]
mod offline;
#[path = "cli/support.rs"]
mod support;
