//! Black-box tests of the `plugmesh` command with real plugins.
//!
//! - `serve`: start, summary, lock, ends, bad plugins

mod serve;
