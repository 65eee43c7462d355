//! Plugins that do what no plugin should, and what a host makes of them.
//!
//! Each test runs the real `plugmesh` with the faulty plugin beside a healthy calculator under calls, checks
//! the code and the whole message that somebody gets, and compares processes, descriptors and sockets of the
//! host before and after: see `scene`.
//!
//! - `program`: files that do not run, programs that end or never listen
//! - `wire`: peers that listen and speak something else than HTTP/2
//! - `handshake`: handshakes, schemas and start phases
//! - `health`: the health service
//! - `reflection`: descriptors
//! - `calls`: what a call can meet, by the bytes that a caller gets
//! - `limits`: messages that are too large
//! - `death`: ends in mid-stream, and plugins that do not want to end
//! - `output`: what a plugin writes
//! - `serve`: what keeps a plugin, or the host, from starting at all

mod calls;
mod death;
mod handshake;
mod health;
mod limits;
mod output;
mod program;
mod raw;
mod reflection;
mod scene;
mod serve;
mod wire;
