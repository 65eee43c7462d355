//! Durable events while hosts, publishers and members are killed, and a proof of what became of them.
//!
//! A [round](round::run) is a real host on a directory of its own, publishers and members as processes of their own, and a
//! [plan](plan::Plan), drawn from a seed, of who is killed when. Everybody writes down what it does, as it does it; in the end the
//! [history] of all is put together and [checked](checker).
//!
//! - [`plan`]: what happens in a round, from its seed; [`events`]: what is published.
//! - [`role`]: what a process may be: a `publisher` or a `member`.
//! - [`round`]: starts them, kills them, and waits until all is handled; `host`, `process` are what it works with.
//! - [`history`]: what was done, by whom and when; [`checker`]: what the bus promises of it.

pub mod checker;
pub mod events;
pub mod history;
mod host;
mod link;
mod member;
pub mod plan;
mod process;
mod publisher;
pub mod role;
pub mod round;
mod tail;

/// Why something could not be done.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
