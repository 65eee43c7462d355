//! The event bus: CloudEvents from those who publish to those who subscribed.
//!
//! - [`service`]: `EventBusService`, and the streams of frames: [`stream`] reads and writes them for a [`participant`], whose [`outbox`]
//!   says what it is sent next.
//! - [`publish`]: from a publisher to the subscriptions, which [`topics`] and [`matches`] find.
//! - [`subscription`]: what waits for whom: [`runs`] or [`entries`], within [`bounds`]; [`parcel`] is what is delivered at once.
//! - [`durable`]: topics that the [`journal`] keeps. The [`recorder`] records what is published, the [`feeder`] reads for those who are
//!   behind, the [`keeper`] saves their [`progress`]. A [`log`] is the journal, or NATS JetStream, which hosts share.

mod announcer;
mod attach;
mod bounds;
mod bus;
mod dead_letters;
mod duplicates;
mod durable;
mod entries;
mod feeder;
mod filter;
mod journal;
mod keeper;
pub(crate) mod local;
mod log;
mod matches;
#[cfg(feature = "nats")]
mod nats;
mod open;
mod outbox;
mod parcel;
mod participant;
#[cfg(test)]
mod peer;
mod progress;
mod publish;
mod pulled;
mod receipt;
mod recorder;
mod redrive;
mod run;
mod runs;
mod service;
mod statistics;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;
mod timekeeper;
mod topics;

pub(crate) use self::attach::{Attached, Part};
pub use self::journal::OpenError as OpenJournalError;
pub(crate) use self::open::Events;
pub(crate) use self::participant::Permissions;
pub(crate) use self::statistics::Statistics;

/// What those are told who want what only a journal can do.
const NO_JOURNAL: &str = "this host keeps no journal: configure `events.journal`";
