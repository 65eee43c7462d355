//! What keeps the events of durable topics: the journal of this host, or NATS JetStream, which hosts share.

use std::sync::Arc;
use std::time::SystemTime;

use super::bus::Bus;
use super::journal::{Change, Committed, DeadLetter, DeadLetterPage, Journal, JournalError, Read, Stats};
#[cfg(feature = "nats")]
use super::nats::Nats;
use super::progress::Start;
use super::subscription::Subscription;

/// Events with their places, dead letters, and how far durable names have come. Clones share it.
///
/// What is published is recorded by somebody else for each kind: the recorder for a journal, a sender for NATS.
#[derive(Clone, Debug)]
pub(super) enum Log {
    Journal(Arc<Journal>),
    #[cfg(feature = "nats")]
    Nats(Arc<Nats>),
}

impl Log {
    /// Whether it hands out the events of durable names itself, to all hosts that share them.
    pub(super) fn shares_names(&self) -> bool {
        match self {
            Self::Journal(_) => false,
            #[cfg(feature = "nats")]
            Self::Nats(_) => true,
        }
    }

    /// Place of the oldest event, as far as is known; that of the next one when there is none.
    pub(super) fn first_place(&self) -> u64 {
        match self {
            Self::Journal(journal) => journal.first_place(),
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.first_place(),
        }
    }

    /// Place of the newest event, as far as is known; zero when there was none.
    pub(super) fn last_place(&self) -> u64 {
        match self {
            Self::Journal(journal) => journal.last_place(),
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.last_place(),
        }
    }

    /// Events that it held when it was asked last.
    pub(super) fn events(&self) -> u64 {
        match self {
            Self::Journal(journal) => journal.events(),
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.events(),
        }
    }

    /// Dead letters that it held when it was asked last.
    pub(super) fn count_of_dead_letters(&self) -> u64 {
        match self {
            Self::Journal(journal) => journal.count_of_dead_letters(),
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.count_of_dead_letters(),
        }
    }

    /// Has the first and the last place be what they are now, with what others have published.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(super) async fn refresh(&self) -> Result<(), JournalError> {
        match self {
            Self::Journal(_) => Ok(()),
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.refresh().await.map(drop),
        }
    }

    /// See [`Journal::read`].
    pub(super) async fn read(
        &self,
        after: u64,
        max_events: u32,
        max_bytes: usize,
    ) -> Result<Read, JournalError> {
        match self {
            Self::Journal(journal) => journal.read(after, max_events, max_bytes).await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.read(after, max_events, max_bytes).await,
        }
    }

    /// See [`Journal::first_at_or_after`].
    pub(super) async fn first_at_or_after(&self, time: SystemTime) -> Result<u64, JournalError> {
        match self {
            Self::Journal(journal) => journal.first_at_or_after(time).await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.first_at_or_after(time).await,
        }
    }

    /// See [`Journal::find_newest`].
    pub(super) async fn find_newest(&self, id: &str, most: u64) -> Result<Option<u64>, JournalError> {
        match self {
            Self::Journal(journal) => journal.find_newest(id, most).await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.find_newest(id, most).await,
        }
    }

    /// Has the events of a durable name handed out. `start`: where it begins, if it is new here.
    pub(super) fn hand_out(&self, bus: &Arc<Bus>, subscription: &Arc<Subscription>, start: Option<Start>) {
        match self {
            // It has cursors instead.
            Self::Journal(_) => drop((bus, subscription, start)),
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.hand_out(bus, subscription, start),
        }
    }

    /// Has whoever hands out its events see whether it still should.
    pub(super) fn look_at(&self, subscription: &Subscription) {
        match self {
            Self::Journal(_) => {
                let _ = subscription;
            }
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.look_at(subscription),
        }
    }

    /// Makes changes in their order: all or none of them with a journal; those before the first that fails otherwise.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<Committed, JournalError> {
        match self {
            Self::Journal(journal) => journal.commit(changes).await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.commit(changes).await,
        }
    }

    /// See [`Journal::dead_letters`].
    pub(super) async fn dead_letters(
        &self,
        subscription: Option<String>,
        after: u64,
        most: usize,
    ) -> Result<DeadLetterPage, JournalError> {
        match self {
            Self::Journal(journal) => journal.dead_letters(subscription, after, most).await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.dead_letters(subscription.as_deref(), after, most).await,
        }
    }

    /// See [`Journal::dead_letter`].
    pub(super) async fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>, JournalError> {
        match self {
            Self::Journal(journal) => journal.dead_letter(id).await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.dead_letter(id).await,
        }
    }

    /// What it holds and has done.
    ///
    /// # Errors
    /// It is closed.
    pub(super) async fn stats(&self) -> Result<Stats, JournalError> {
        match self {
            Self::Journal(journal) => journal.stats().await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.stats().await,
        }
    }

    /// Does all that waits, then ends it.
    pub(super) async fn close(&self) {
        match self {
            Self::Journal(journal) => journal.close().await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.close().await,
        }
    }
}
