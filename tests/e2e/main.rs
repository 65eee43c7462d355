//! Black-box tests of the `plugmesh` command with real plugins.
//!
//! - `serve`: start, summary, lock, ends, bad plugins, faulty configuration
//! - `grpcurl`: on plugin sockets, through the gateway, over TCP with and without TLS; who may administer
//! - `kills`: SIGKILL of the daemon, of its guardian and of a linked host leaves nothing
//! - `restart`: an instance that dies comes back, and calls find their way
//! - `balance`: calls over instances by counts, through the library
//! - `health`: an instance that is unwell is not picked
//! - `calls`: what the gateway forwards
//! - `callbacks`: plugins that call plugins and the host
//! - `operate`: attach, drain, enable, disable, load, unload, reload
//! - `tls`: plugins and endpoints over mutual TLS

mod balance;
mod callbacks;
mod calls;
mod grpcurl;
mod health;
mod kills;
mod operate;
mod restart;
mod serve;
mod tls;
