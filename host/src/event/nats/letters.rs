//! Dead letters, and what else is changed beside the events.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind};
use bytes::Bytes;
use plugmesh::cloudevents::v1::CloudEvent;
use plugmesh::event::v1 as pb;
use prost::Message as _;

use super::super::journal::{Change, Committed, DeadLetter, DeadLetterPage, JournalError, NewDeadLetter};
use super::Nats;

/// Letters that are read at once, and their bytes.
const READ: usize = 256;
const READ_BYTES: usize = 4 << 20;

/// What could not be done.
const SHOW: &str = "show a dead letter";

impl Nats {
    /// Makes changes in their order, until one fails.
    pub(in super::super) async fn commit(&self, changes: Vec<Change>) -> Result<Committed, JournalError> {
        let mut committed = Committed::default();
        for change in changes {
            match change {
                Change::AddDeadLetter(letter) => committed.added.push(self.add(letter).await?),
                Change::RemoveDeadLetters(ids) => {
                    for id in ids {
                        committed.removed += u64::from(self.remove(id).await?);
                    }
                }
                // JetStream itself knows how far durable names have come.
                Change::SaveCursor(_) => {}
                Change::RemoveCursor(name) => committed.removed += u64::from(self.forget(&name).await?),
                Change::Settle(name, settled) => self.settle(&name, settled).await?,
            }
        }
        Ok(committed)
    }

    async fn add(&self, letter: NewDeadLetter) -> Result<u64, JournalError> {
        let letter = pb::DeadLetter {
            id: 0,
            subscription: letter.subscription,
            event: CloudEvent::decode(letter.event).ok(),
            cause: letter.cause as i32,
            reason: letter.reason,
            attempts: letter.attempts,
            first_delivered: Some(letter.first_delivered.into()),
            given_up: Some(letter.given_up.into()),
        };
        let sent = self.context.publish(self.names.letters_subject.clone(), letter.encode_to_vec().into());
        let ack = async { sent.await?.await }.await;
        let ack = ack.map_err(|error| self.broken("keep a dead letter", error))?;
        self.letters.fetch_add(1, Ordering::Relaxed);
        Ok(ack.sequence)
    }

    /// `false`: it was not there.
    async fn remove(&self, id: u64) -> Result<bool, JournalError> {
        let stream = self.context.get_stream_no_info(&self.names.letters).await;
        let stream = stream.map_err(|error| self.broken("answer for its dead letters", error))?;
        match stream.delete_message(id).await {
            Ok(is_gone) => {
                self.letters.fetch_sub(u64::from(is_gone), Ordering::Relaxed);
                Ok(is_gone)
            }
            // What the server says of one that is not there it says of other faults as well.
            Err(_) if stream.get_raw_message(id).await.is_err_and(|error| is_nothing(&error)) => Ok(false),
            Err(error) => Err(self.broken("delete a dead letter", error)),
        }
    }

    /// A page of the dead letters of a subscription, or of all, whose id is above `after`.
    pub(in super::super) async fn dead_letters(
        &self,
        subscription: Option<&str>,
        after: u64,
        most: usize,
    ) -> Result<DeadLetterPage, JournalError> {
        let (mut found, mut after) = (DeadLetterPage::up_to(most), after);
        loop {
            let from = DeliverPolicy::ByStartSequence { start_sequence: after.saturating_add(1) };
            let fetched = self.fetch(&self.names.letters, from, READ, READ_BYTES).await?;
            for message in &fetched.messages {
                let Ok(info) = message.info() else { continue };
                after = info.stream_sequence;
                let letter = read(after, message.payload.clone());
                let is_wanted = subscription.is_none_or(|name| name == letter.letter.subscription);
                if is_wanted && !found.add(letter) {
                    return Ok(found);
                }
            }
            if !fetched.has_more {
                return Ok(found);
            }
        }
    }

    /// A dead letter, if there is one with that id.
    pub(in super::super) async fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>, JournalError> {
        // The server takes it for a bad question.
        if id == 0 {
            return Ok(None);
        }
        let stream = self.context.get_stream_no_info(&self.names.letters).await;
        let stream = stream.map_err(|error| self.broken(SHOW, error))?;
        match stream.get_raw_message(id).await {
            Ok(message) => Ok(Some(read(id, message.payload))),
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(self.broken(SHOW, error)),
        }
    }
}

fn is_nothing(error: &RawMessageError) -> bool {
    matches!(error.kind(), RawMessageErrorKind::NoMessageFound)
}

/// A letter as it was kept, or what shows that one was.
fn read(id: u64, payload: Bytes) -> DeadLetter {
    let letter = pb::DeadLetter::decode(payload);
    let is_sound = letter.is_ok();
    let letter = letter.unwrap_or_default();
    let time = |time: Option<prost_types::Timestamp>| {
        time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let letter = NewDeadLetter {
        cause: letter.cause(),
        subscription: letter.subscription,
        place: None,
        event: letter.event.unwrap_or_default().encode_to_vec().into(),
        reason: letter.reason,
        attempts: letter.attempts,
        first_delivered: time(letter.first_delivered),
        given_up: time(letter.given_up),
    };
    DeadLetter { id, letter, is_sound }
}
