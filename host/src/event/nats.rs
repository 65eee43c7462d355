//! Durable topics in NATS JetStream, which hosts share.
//!
//! All events lie in one stream, whose sequence is their place; an event is a message on the subject `<stream>.events.<topic>` with the bytes of
//! its CloudEvent. Dead letters are a second stream.
//!
//! - [`sender`]: from publishers to the stream. [`tail`]: from the stream to those who are live, in its order, whoever published.
//! - [`read`]: what is in the stream, for those who are behind. [`letters`]: dead letters.
//! - [`puller`]: events of durable names, which a consumer of JetStream hands out to all hosts that have members.
//! - [`names`]: subjects, and what goes with a message.

mod letters;
mod names;
mod pending;
mod puller;
mod read;
mod sender;
mod tail;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::{Config, State, StorageType};
use plugmesh::event::Pattern;

use self::names::Names;
use self::pending::Pending;
use self::puller::Pullers;
pub(super) use self::sender::Sender;
use self::sender::text;
pub(super) use self::tail::follow;
use super::duplicates;
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
        let client =
            options(config).connect(config.servers.clone()).await.map_err(|error| failed(error.into()))?;
        let context = ContextBuilder::new()
            .timeout(ANSWER)
            .max_ack_inflight(MAX_OUTSTANDING)
            .backpressure_on_inflight(true)
            .build(client);
        let names = Names::new(&config.stream);
        let events = Config {
            name: names.stream.clone(),
            subjects: vec![names.all_events()],
            storage: StorageType::File,
            max_age: config.max_age.unwrap_or_default(),
            max_bytes: config.max_size.map_or(-1, |size| size.as_u64() as i64),
            max_messages: config.max_events.map_or(-1, i64::from),
            duplicate_window: duplicates::WINDOW.min(config.max_age.unwrap_or(duplicates::WINDOW)),
            num_replicas: config.replicas as usize,
            allow_direct: true,
            description: Some("events of plugmesh".to_owned()),
            ..Config::default()
        };
        let letters = Config {
            name: names.letters.clone(),
            subjects: vec![names.letters_subject.clone()],
            max_age: Duration::ZERO,
            max_bytes: -1,
            max_messages: -1,
            duplicate_window: duplicates::WINDOW,
            description: Some("events that plugmesh could not deliver".to_owned()),
            ..events.clone()
        };
        let events = ensure(&context, events).await.map_err(failed)?;
        let letters = ensure(&context, letters).await.map_err(failed)?;
        Ok(Self {
            context,
            servers: servers.into(),
            names,
            topics: config.topics.clone(),
            first: events.first_sequence.max(1).into(),
            last: events.last_sequence.into(),
            events: events.messages.into(),
            letters: letters.messages.into(),
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
        let state =
            stream.map_err(|error| self.broken("answer for its stream", error))?.cached_info().state.clone();
        self.first.fetch_max(state.first_sequence, Ordering::SeqCst);
        self.last.fetch_max(state.last_sequence, Ordering::SeqCst);
        self.events.store(state.messages, Ordering::Relaxed);
        Ok(state)
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

    fn broken(&self, what: &'static str, error: impl Error + Send + Sync + 'static) -> JournalError {
        self.broken_by(what, Box::new(error))
    }

    fn broken_by(&self, what: &'static str, error: crate::BoxError) -> JournalError {
        JournalError::Broker { servers: self.servers.clone(), what, source: error.into() }
    }
}

/// How to connect.
fn options(config: &NatsConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new().name("plugmesh").request_timeout(Some(ANSWER));
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.expose().to_owned());
    }
    let Some(tls) = &config.tls else { return options };
    options = options.require_tls(true);
    if let Some(ca) = &tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    match &tls.identity {
        Some((cert, key)) => options.add_client_certificate(cert.clone(), key.clone()),
        None => options,
    }
}

/// Makes a stream, or brings the one that is there to what is wanted.
async fn ensure(context: &Context, wanted: Config) -> Result<State, crate::BoxError> {
    let stream = context.get_or_create_stream(wanted.clone()).await?;
    let info = stream.cached_info();
    let found = &info.config;
    let is_as_wanted = found.subjects == wanted.subjects
        && found.max_age == wanted.max_age
        && found.max_bytes == wanted.max_bytes
        && found.max_messages == wanted.max_messages
        && found.duplicate_window == wanted.duplicate_window
        && found.num_replicas == wanted.num_replicas;
    if is_as_wanted {
        return Ok(info.state.clone());
    }
    // What is not configured here stays as it is.
    let wanted = Config {
        subjects: wanted.subjects,
        max_age: wanted.max_age,
        max_bytes: wanted.max_bytes,
        max_messages: wanted.max_messages,
        duplicate_window: wanted.duplicate_window,
        num_replicas: wanted.num_replicas,
        ..found.clone()
    };
    Ok(context.update_stream(wanted).await?.state)
}
