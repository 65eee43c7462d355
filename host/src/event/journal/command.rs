//! What the thread of a journal is asked to do.

use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::StreamId;
use super::error::JournalError;
use super::store::{Cursor, NewDeadLetter};
use super::writer::Writer;
use crate::event::pulled::Settled;
use crate::event::run::Run;

pub(super) type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

/// Where events were recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Of the first event; the others follow it without a gap.
    pub(crate) first_place: u64,
    /// When.
    pub(crate) recorded: SystemTime,
}

/// Something to change beside the events.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A durable subscription has come this far.
    SaveCursor(Cursor),
    /// A durable subscription is gone, by name.
    RemoveCursor(String),
    /// An event is given up.
    AddDeadLetter(NewDeadLetter),
    /// What became of events of a durable name. Nothing to a journal, which keeps cursors.
    Settle(String, Settled),
    /// Dead letters were dealt with, by id. Those that are not there do not matter.
    RemoveDeadLetters(Vec<u64>),
}

/// What came of some changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Ids of the dead letters that were added, in their order.
    pub(crate) added: Vec<u64>,
    /// How many dead letters were removed as asked.
    pub(crate) removed: u64,
    /// How many older dead letters went because there were too many.
    pub(crate) dropped: u64,
}

/// Something that is done in a transaction, together with others that wait.
pub(super) enum Write {
    Append { run: (StreamId, Run), answer: Answer<Appended> },
    Change { changes: Vec<Change>, answer: Answer<Committed> },
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Appended(Appended),
    Changed(Committed),
    /// It would not fit.
    Refused,
}

pub(super) enum Command {
    /// With the right to wait, when it is large.
    Write(Write, Option<OwnedSemaphorePermit>),
    Ask(Box<dyn FnOnce(&mut Writer) + Send>),
    Close(oneshot::Sender<()>),
}

impl Write {
    /// Where it records events.
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Append { run: (stream, _), .. } => Some(*stream),
            Self::Change { .. } => None,
        }
    }

    /// Bytes that it records, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Change { changes, .. } => changes.iter().map(Change::bytes).sum(),
            Self::Append { run: (_, run), .. } => run.bytes().len(),
        }
    }

    pub(super) fn answer(self, outcome: Result<Outcome, JournalError>) {
        // Whoever asked may have gone.
        match (self, outcome) {
            (Self::Append { answer, .. }, Ok(Outcome::Appended(appended))) => drop(answer.send(Ok(appended))),
            (Self::Change { answer, .. }, Ok(Outcome::Changed(committed))) => {
                drop(answer.send(Ok(committed)))
            }
            (Self::Append { answer, .. }, Err(error)) => drop(answer.send(Err(error))),
            (Self::Change { answer, .. }, Err(error)) => drop(answer.send(Err(error))),
            // An outcome is made from its write.
            (_, Ok(_)) => {}
        }
    }
}

impl Change {
    /// Bytes that it records, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::SaveCursor(cursor) => cursor.name.len() + cursor.state.len(),
            Self::RemoveCursor(name) => name.len(),
            Self::AddDeadLetter(letter) => {
                letter.event.len() + letter.reason.len() + letter.subscription.len()
            }
            Self::Settle(name, settled) => {
                name.len() + size_of_val(&settled.done[..]) + size_of_val(&settled.given_back[..])
            }
            Self::RemoveDeadLetters(ids) => size_of_val(&ids[..]),
        }
    }
}
