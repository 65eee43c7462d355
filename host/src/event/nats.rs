//! Durable topics in NATS JetStream, which hosts share.
//!
//! All events lie in one stream, whose sequence is their place; an event is a message on the subject `<stream>.events.<topic>` with the bytes of
//! its CloudEvent. Dead letters are a second stream.
//!
//! - [`sender`]: from publishers to the stream. [`tail`]: from the stream to those who are live, in its order, whoever published.
//! - [`read`]: what is in the stream, for those who are behind. [`letters`]: dead letters.
//! - [`puller`]: events of durable names, which a consumer of JetStream hands out to all hosts that have members.
//! - [`setup`]: how to connect, and which streams there are. [`names`]: subjects, and what goes with a message.

mod letters;
mod names;
mod pending;
mod puller;
mod read;
mod sender;
mod setup;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::State;
use plugmesh::event::Pattern;

use self::names::Names;
use self::pending::Pending;
use self::puller::Pullers;
pub(super) use self::sender::Sender;
pub(super) use self::tail::follow;
use super::journal::{JournalError, OpenError, Stats};
use crate::config::NatsConfig;

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Messages that the client may have on their way to the stream, with some to spare: the sender keeps count itself.
const MAX_OUTSTANDING: usize = 65_536;

/// JetStream as what keeps the events of a host.
#[derive(Debug)]
pub(super) struct Nats {
    context: Context,
    servers: Arc<str>,
    names: Names,
    topics: Vec<Pattern>,
    /// When the stream was made: another one has other places.
    created: Mutex<DateTime>,
    /// What the stream held when it was looked at last, and what was seen since.
    first: AtomicU64,
    last: AtomicU64,
    events: AtomicU64,
    letters: AtomicU64,
    pending: Pending,
    pullers: Pullers,
}

impl Nats {
    /// Connects, and makes the streams or brings them to what is configured.
    ///
    /// # Errors
    /// No server answers, it has no JetStream, or the streams cannot be what they should.
    pub(super) async fn open(config: &NatsConfig) -> Result<Self, OpenError> {
        let servers = config.servers.join(", ");
        let failed = |source: crate::BoxError| OpenError::Nats { servers: servers.clone(), source };
        let client = setup::options(config).connect(config.servers.clone()).await;
        let context = ContextBuilder::new()
            .timeout(ANSWER)
            .max_ack_inflight(MAX_OUTSTANDING)
            .backpressure_on_inflight(true)
            .build(client.map_err(|error| failed(error.into()))?);
        let names = Names::new(&config.stream);
        let events = setup::ensure(&context, setup::events(config, &names)).await.map_err(failed)?;
        let letters = setup::ensure(&context, setup::letters(config, &names)).await.map_err(failed)?;
        let (state, created) = (events.state, events.created);
        Ok(Self {
            context,
            servers: servers.into(),
            names,
            topics: config.topics.clone(),
            created: Mutex::new(created),
            first: state.first_sequence.max(1).into(),
            last: state.last_sequence.into(),
            events: state.messages.into(),
            letters: letters.state.messages.into(),
            pending: Pending::default(),
            pullers: Pullers::default(),
        })
    }

    pub(super) fn first_place(&self) -> u64 {
        self.first.load(Ordering::SeqCst)
    }

    pub(super) fn last_place(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(super) fn count_of_dead_letters(&self) -> u64 {
        self.letters.load(Ordering::Relaxed)
    }

    /// Looks at the stream.
    pub(super) async fn refresh(&self) -> Result<State, JournalError> {
        let stream = self.context.get_stream(&self.names.stream).await;
        let stream = stream.map_err(|error| self.broken("answer for its stream", error))?;
        let info = stream.cached_info();
        let state = info.state.clone();
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        if *created == info.created {
            self.first.fetch_max(state.first_sequence, Ordering::SeqCst);
            self.last.fetch_max(state.last_sequence, Ordering::SeqCst);
        } else {
            *created = info.created;
            self.first.store(state.first_sequence.max(1), Ordering::SeqCst);
            self.last.store(state.last_sequence, Ordering::SeqCst);
        }
        drop(created);
        self.events.store(state.messages, Ordering::Relaxed);
        Ok(state)
    }

    /// When the stream was made, as far as is known.
    fn created(&self) -> DateTime {
        *self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn stats(&self) -> Result<Stats, JournalError> {
        let problem = self.refresh().await.err().map(|error| error.to_string());
        let letters = self.context.get_stream(&self.names.letters).await;
        if let Ok(letters) = letters {
            self.letters.store(letters.cached_info().state.messages, Ordering::Relaxed);
        }
        Ok(Stats {
            events: self.events(),
            first_place: self.first_place(),
            last_place: self.last_place(),
            dead_letters: self.count_of_dead_letters(),
            problem,
            ..Stats::default()
        })
    }

    /// Asks for nothing any more, and waits until the server knows that, and what became of the events that were here.
    pub(super) async fn close(&self) {
        for task in self.stop_pulling() {
            let _ = task.await;
        }
        // What is sent over a connection is taken in its order.
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "what was handled last may come once more: NATS was not told");
        }
    }

    /// An event was seen in the stream.
    fn saw(&self, place: u64) {
        self.last.fetch_max(place, Ordering::SeqCst);
    }

    fn broken(&self, what: &'static str, error: impl Into<crate::BoxError>) -> JournalError {
        JournalError::Broker { servers: self.servers.clone(), what, source: error.into().into() }
    }
}
