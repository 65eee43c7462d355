//! Dead letters, and what else is changed beside the events.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind};
use plugmesh::cloudevents::v1::CloudEvent;
use plugmesh::event::v1 as pb;
use prost::Message as _;

use super::super::journal::{Change, Committed, DeadLetter, JournalError, NewDeadLetter};
use super::Nats;

/// Letters that are read at once, and their bytes.
const PAGE: usize = 256;
const BYTES: usize = 4 << 20;

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

    /// Dead letters of a subscription, or of all, whose id is above `after`, the oldest first.
    pub(in super::super) async fn dead_letters(
        &self,
        subscription: Option<&str>,
        after: u64,
        most: usize,
    ) -> Result<Vec<DeadLetter>, JournalError> {
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let from = DeliverPolicy::ByStartSequence { start_sequence: after + 1 };
            let fetched = self.fetch(&self.names.letters, from, PAGE, BYTES).await?;
            for message in &fetched.messages {
                let Ok(info) = message.info() else { continue };
                after = info.stream_sequence;
                let letter = pb::DeadLetter::decode(message.payload.clone());
                let is_sound = letter.is_ok();
                let letter = letter.unwrap_or_default();
                if subscription.is_some_and(|subscription| subscription != letter.subscription) {
                    continue;
                }
                found.push(DeadLetter { id: after, letter: read(letter), is_sound });
                if found.len() >= most {
                    return Ok(found);
                }
            }
            if !fetched.has_more {
                return Ok(found);
            }
        }
    }
}

fn is_nothing(error: &RawMessageError) -> bool {
    matches!(error.kind(), RawMessageErrorKind::NoMessageFound)
}

fn read(letter: pb::DeadLetter) -> NewDeadLetter {
    let time = |time: Option<prost_types::Timestamp>| {
        time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    NewDeadLetter {
        cause: letter.cause(),
        subscription: letter.subscription,
        place: None,
        event: letter.event.unwrap_or_default().encode_to_vec().into(),
        reason: letter.reason,
        attempts: letter.attempts,
        first_delivered: time(letter.first_delivered),
        given_up: time(letter.given_up),
    }
}
