//! What the bus promises of durable events, held against a history.
//!
//! A delivery is *in flight* from when its member has it until the first of these: the member is about to acknowledge or to refuse it, has
//! lost or is about to end its stream, is killed, or its host is dead. An event *was handled* when a member was about to acknowledge a
//! delivery of it by a host that was not dead: what was said to a dead host does not count, and the event has to come again.
//!
//! 1. [No loss](Violation::Lost): each event of which its publisher was told that it is kept was handled.
//! 2. [No invention](Violation::Invented): each delivery is of an event that somebody was about to publish before, with the same content.
//! 3. Order of a key, by the places in the journal:
//!    - [No event before its turn](Violation::EarlyDelivery): when an event is delivered, each one before it with the same key was handled
//!      at some time. After a crash the bus may have forgotten that one was handled, and deliver it again; it may not go past one that
//!      was not.
//!    - [No way back](Violation::WayBack): in one life of a host, the deliveries of a key do not go back to an event before one that
//!      was delivered already: that was delivered since all before it were done, and what is done is not delivered again.
//! 4. [One at a time](Violation::InFlightTwice): no two deliveries of events with the same key are in flight at the same time.
//! 5. The journal, as it is read in the end: [places rise](Violation::PlaceDoesNotRise), each event is in it
//!    [once](Violation::KeptTwice) and [as it was published](Violation::KeptWithoutCause), none is missing that was
//!    [acknowledged](Violation::NotKept), and those of one publisher are [in the order](Violation::KeptOutOfOrder) in which it
//!    published them for the first time. One that was refused and published again may come later.
//! 6. [Honest duplicates](Violation::FalseDuplicate): only an event that was published more than once is called a duplicate, and one that
//!    is new is called so [once](Violation::NewTwice).

mod deliveries;
mod journal;
mod order;
mod publications;
#[cfg(test)]
mod tests;

use std::fmt;

use self::deliveries::Deliveries;
use self::journal::Journal;
use self::publications::Publications;
use crate::history::{History, Who};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It was acknowledged to its publisher, and never handled.
    Lost {
        /// Which.
        id: String,
    },
    /// It was delivered, and nobody had published it, or not so.
    Invented {
        /// Which.
        id: String,
        /// When.
        at: u64,
    },
    /// It was delivered before another with its key was handled that comes before it.
    EarlyDelivery {
        /// Which.
        id: String,
        /// When.
        at: u64,
        /// The other.
        before: String,
    },
    /// It was delivered after another with its key that comes after it, by the same host.
    WayBack {
        /// Which.
        id: String,
        /// When.
        at: u64,
        /// The other.
        after: String,
    },
    /// It was delivered while another delivery of its key was in flight.
    InFlightTwice {
        /// The key.
        key: String,
        /// Which, and to whom.
        one: (String, Who),
        /// The other.
        other: (String, Who),
        /// When.
        at: u64,
    },
    /// A place in the journal is not above the one before.
    PlaceDoesNotRise {
        /// The place.
        place: u64,
    },
    /// The journal has it more than once.
    KeptTwice {
        /// Which.
        id: String,
    },
    /// The journal has it, and nobody has published it, or not so.
    KeptWithoutCause {
        /// Which.
        id: String,
    },
    /// It was acknowledged to its publisher, or delivered, and the journal does not have it.
    NotKept {
        /// Which.
        id: String,
    },
    /// The journal has it behind one that its publisher published later.
    KeptOutOfOrder {
        /// Which.
        id: String,
        /// The other.
        behind: String,
    },
    /// Its publisher was told that it had been published before, and that is not so.
    FalseDuplicate {
        /// Which.
        id: String,
    },
    /// Its publisher was told twice that it is new.
    NewTwice {
        /// Which.
        id: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { id } => write!(f, "{id} was acknowledged and never handled"),
            Self::Invented { id, at } => write!(f, "{id} was delivered at {at} as nobody had published it"),
            Self::EarlyDelivery { id, at, before } => {
                write!(f, "{id} was delivered at {at} before {before} was handled, which has the same key")
            }
            Self::WayBack { id, at, after } => {
                write!(
                    f,
                    "{id} was delivered at {at} by a host that had delivered {after} of its key already"
                )
            }
            Self::InFlightTwice { key, one, other, at } => write!(
                f,
                "{key}: {} was with {} at {at}, while {} was with {}",
                one.0, one.1, other.0, other.1
            ),
            Self::PlaceDoesNotRise { place } => write!(f, "place {place} of the journal does not rise"),
            Self::KeptTwice { id } => write!(f, "{id} is in the journal twice"),
            Self::KeptWithoutCause { id } => write!(f, "{id} is in the journal as nobody has published it"),
            Self::NotKept { id } => write!(f, "{id} is not in the journal"),
            Self::KeptOutOfOrder { id, behind } => {
                write!(f, "{id} is in the journal behind {behind}, which was published later")
            }
            Self::FalseDuplicate { id } => write!(f, "{id} was called a duplicate and is none"),
            Self::NewTwice { id } => write!(f, "{id} was called new twice"),
        }
    }
}

/// Everything that is wrong with a history.
pub fn check(history: &History) -> Vec<Violation> {
    let publications = Publications::read(history);
    let deliveries = Deliveries::read(history);
    let journal = Journal::read(history);
    let mut violations = Vec::new();
    violations.extend(publications.honesty());
    violations.extend(journal.soundness(&publications, &deliveries));
    violations.extend(deliveries.losses(&publications));
    violations.extend(deliveries.inventions(&publications));
    violations.extend(order::early_deliveries(&deliveries, &journal));
    violations.extend(order::ways_back(&deliveries, &journal));
    violations.extend(order::in_flight_twice(&deliveries));
    violations
}
