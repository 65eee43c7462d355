//! A plugin of this crate as its host and its callers see it, over real sockets.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in tests, and in the helpers that only tests use, a panic is the report"
)]

mod calls;
mod contract;
mod ending;
mod gateway;
mod mtls;
mod support;
