//! What is in a stream, for those who are behind.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures_util::StreamExt;
use plugmesh::cloudevents::EventRef;

use super::super::journal::{JournalError, Read, Stored};
use super::Nats;
use super::tail::whole;

/// How long a server keeps what it knows of a read: what is read is there at once.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// How long a read may take.
const EXPIRES: Duration = Duration::from_secs(5);

/// Bytes of the largest message that there may be, about: a read has room for one.
const LARGEST: usize = 8 << 20;

/// Events of one step of a search backwards.
const STEP: u64 = 4096;

/// Messages of a stream.
pub(super) struct Fetched {
    pub(super) messages: Vec<Message>,
    /// What follows them was not read.
    pub(super) has_more: bool,
}

/// A consumer that only reads, and goes by itself when nobody has asked for so long.
pub(super) fn passing(what: &str, from: DeliverPolicy, inactive_threshold: Duration) -> pull::Config {
    pull::Config {
        description: Some(what.to_owned()),
        deliver_policy: from,
        ack_policy: AckPolicy::None,
        inactive_threshold,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

impl Nats {
    /// Reads messages of a stream from somewhere on: up to both bounds, and one at least if there is any.
    pub(super) async fn fetch(
        &self,
        stream: &str,
        from: DeliverPolicy,
        most: usize,
        max_bytes: usize,
    ) -> Result<Fetched, JournalError> {
        let fetching = async {
            let stream = self.context.get_stream_no_info(stream).await?;
            let consumer = stream.create_consumer(passing("a read of a plugmesh host", from, FORGOTTEN));
            let consumer = consumer.await?;
            let mut left = consumer.cached_info().num_pending;
            let mut messages = Vec::new();
            if left > 0 {
                let fetch = consumer.fetch().max_messages(most.max(1)).max_bytes(max_bytes.max(LARGEST));
                let mut batch = fetch.expires(EXPIRES).messages().await?;
                let mut bytes = 0;
                while messages.len() < most.max(1) && (bytes < max_bytes || messages.is_empty()) {
                    let message = match batch.next().await {
                        Some(Ok(message)) => message,
                        // So many bytes are enough.
                        Some(Err(_)) | None if !messages.is_empty() => break,
                        Some(Err(error)) => return Err(error),
                        None => {
                            // Somebody may have deleted it meanwhile.
                            left = consumer.get_info().await?.num_pending;
                            match left {
                                0 => break,
                                _ => return Err("the server did not send what it has".into()),
                            }
                        }
                    };
                    left = message.info()?.pending;
                    bytes += message.payload.len();
                    messages.push(message);
                }
            }
            // It would go by itself, but later.
            let name = &consumer.cached_info().name;
            let _ = stream.delete_consumer(name).await;
            Ok::<_, crate::BoxError>(Fetched { messages, has_more: left > 0 })
        };
        fetching.await.map_err(|error| self.broken("read its stream", error))
    }

    /// Reads events after a place, in the order of places: up to both bounds, and one at least if there is any.
    pub(in super::super) async fn read(
        &self,
        after: u64,
        max_events: u32,
        max_bytes: usize,
    ) -> Result<Read, JournalError> {
        let state = self.refresh().await?;
        if after >= state.last_sequence {
            return Ok(Read { through: after, ..Read::default() });
        }
        let first = state.first_sequence.max(after + 1);
        let removed = match first > after + 1 {
            true => self.topics.iter().map(|topic| (topic.as_str().into(), first - 1)).collect(),
            false => Vec::new(),
        };
        let from = DeliverPolicy::ByStartSequence { start_sequence: first };
        let Fetched { messages, has_more } =
            self.fetch(&self.names.stream, from, max_events as usize, max_bytes).await?;
        let mut stored = Vec::with_capacity(messages.len());
        let mut through = after;
        for message in &messages {
            let Ok(info) = message.info() else { continue };
            through = info.stream_sequence;
            // The tail has told of what is no event.
            if EventRef::check(&message.payload).is_ok() {
                stored.push(Stored {
                    first_place: info.stream_sequence,
                    count: 1,
                    recorded: info.published.into(),
                    stream: self.names.stream.as_str().into(),
                    bytes: whole(&message.payload),
                });
            }
        }
        if !has_more {
            through = through.max(state.last_sequence);
        }
        Ok(Read { stored, removed, damaged: Vec::new(), through })
    }

    /// Place of the first event that was recorded then or later; that of the next one when there is none.
    pub(in super::super) async fn first_at_or_after(&self, time: SystemTime) -> Result<u64, JournalError> {
        let state = self.refresh().await?;
        let from = DeliverPolicy::ByStartTime { start_time: time.into() };
        let found = self.fetch(&self.names.stream, from, 1, 1).await?;
        let place = found.messages.first().and_then(|message| Some(message.info().ok()?.stream_sequence));
        Ok(place.unwrap_or(state.last_sequence + 1))
    }

    /// Place of the newest event with that id among the last `most`, or some more.
    pub(in super::super) async fn find_newest(
        &self,
        id: &str,
        most: u64,
    ) -> Result<Option<u64>, JournalError> {
        let state = self.refresh().await?;
        let (mut before, mut seen) = (state.last_sequence + 1, 0);
        while seen < most && before > state.first_sequence {
            let begin = before.saturating_sub(STEP).max(state.first_sequence).max(1);
            let (mut found, mut after) = (None, begin - 1);
            while after + 1 < before {
                let read = self.read(after, STEP as u32, 4 << 20).await?;
                for stored in read.stored.iter().filter(|stored| stored.first_place < before) {
                    let event = super::super::run::events(&stored.bytes).next();
                    let is_it = event
                        .and_then(|event| EventRef::check(&stored.bytes[event]).ok())
                        .is_some_and(|event| event.id() == id);
                    if is_it {
                        found = Some(stored.first_place);
                    }
                }
                after = read.through.max(after + 1);
            }
            if found.is_some() {
                return Ok(found);
            }
            seen += before - begin;
            before = begin;
        }
        Ok(None)
    }
}
