//! The algorithms of the resilience stack: they know time and numbers, nothing of endpoints or HTTP.
//!
//! Each takes the present [`Moment`](clock::Moment) as an argument, so that a test drives it through years in
//! a few steps. All run on the path of every call: what happens for a call that goes well is a few relaxed
//! atomics, without allocation and without a lock.
//!
//! - [`clock`]: time as one number. [`window`]: counts of the last ten seconds.
//! - Trust: [`breaker`]. Second tries: [`budget`], [`backoff`], [`quantile`] for the hedging delay.
//! - Choice: [`peak_ewma`], [`alias`], [`hash_ring`] with [`stable_hash`].
//! - Admission: [`token_bucket`], [`keyed`], [`limiter`], [`gradient`].
//! - Counting: [`sharded`], [`latency`], [`by_code`].

pub(crate) mod alias;
pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod budget;
pub(crate) mod by_code;
pub(crate) mod clock;
pub(crate) mod gradient;
pub(crate) mod hash_ring;
pub(crate) mod keyed;
pub(crate) mod latency;
pub(crate) mod limiter;
pub(crate) mod peak_ewma;
pub(crate) mod quantile;
pub(crate) mod sharded;
pub(crate) mod stable_hash;
pub(crate) mod token_bucket;
pub(crate) mod window;
