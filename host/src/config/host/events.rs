//! `events:`.

use std::path::PathBuf;
use std::time::Duration;

use plugmesh::event::Pattern;

use super::super::decode::{
    Decoder, Section, choice, duration, integer, list, parsed, path, secret, size, string,
};
use super::super::defaults::{
    ACK_DEADLINE, DEAD_LETTER_BYTES, DEAD_LETTERS, EVENT_SIZE, EVENT_SIZES, JOURNAL_SIZE, JOURNAL_SIZES,
    LIMITS, MAX_ATTEMPTS, MAX_ENTRIES, MAX_REDELIVERY_INTERVAL, QUEUE, QUEUE_BYTES, QUEUE_SIZES, QUEUES,
    REDELIVERY_INTERVAL, RETENTION_AGES, TIMEOUTS,
};
use super::super::secret::Secret;
use super::super::size::ByteSize;
use super::super::yaml::Node;

/// Servers that may keep an event: as many as JetStream has.
const MAX_REPLICAS: u32 = 5;

/// How events are carried.
#[derive(Clone, Debug, PartialEq)]
pub struct EventsConfig {
    /// Largest event.
    pub max_event_size: ByteSize,
    /// Events that may wait for a subscription that asks for no other number.
    pub queue: u32,
    /// Bytes of events that a subscription holds at most.
    pub queue_size: ByteSize,
    /// How an event is delivered again, for subscriptions that say nothing else.
    pub redelivery: RedeliveryConfig,
    /// Where durable topics are kept; none: no topic is durable.
    pub journal: Option<JournalConfig>,
    /// NATS, if it keeps the events of durable topics instead of a journal.
    pub nats: Option<NatsConfig>,
}

/// How an event is delivered until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedeliveryConfig {
    /// How long a handler may take.
    pub ack_deadline: Duration,
    /// Deliveries after which an event goes to the dead letters.
    pub max_attempts: u32,
    /// The pause before the second delivery; it doubles from one to the next.
    pub initial_interval: Duration,
    /// The longest pause.
    pub max_interval: Duration,
    /// Whether later events with the same partition key wait meanwhile.
    pub blocks_key: bool,
}

/// The journal of durable topics.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalConfig {
    /// The file of its database. Its directory must exist.
    pub path: PathBuf,
    /// Most bytes of the file.
    pub max_size: ByteSize,
    /// Durable topics. An event belongs to the first that matches.
    pub topics: Vec<TopicConfig>,
    /// Most dead letters; beyond it the oldest goes.
    pub max_dead_letters: u32,
    /// Most bytes of dead letters; beyond it the oldest goes.
    pub max_dead_letter_size: ByteSize,
}

/// NATS JetStream as what keeps the events of durable topics: hosts that use the same stream share them.
#[derive(Clone, Debug, PartialEq)]
pub struct NatsConfig {
    /// Its servers, as URLs: `nats://` or `tls://`.
    pub servers: Vec<String>,
    /// Name of the stream, and first part of its subjects.
    pub stream: String,
    /// Durable topics.
    pub topics: Vec<Pattern>,
    /// How long an event is kept; none: for ever.
    pub max_age: Option<Duration>,
    /// Bytes of events that are kept; none: as many as there is room for.
    pub max_size: Option<ByteSize>,
    /// Events that are kept; none: as many as there is room for.
    pub max_events: Option<u32>,
    /// Dead letters that are kept, and their bytes; beyond either the oldest goes.
    pub max_dead_letters: u32,
    /// See [`max_dead_letters`](Self::max_dead_letters).
    pub max_dead_letter_size: ByteSize,
    /// Servers of a cluster that keep each event.
    pub replicas: u32,
    /// Who the host is to the servers.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// Who the host is, where servers ask for a token.
    pub token: Option<Secret>,
    /// How servers are known, and the host to them; none: as the URL of a server says, with the certificates of the system.
    pub tls: Option<NatsTls>,
}

/// TLS with NATS servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NatsTls {
    /// Certificates of those who have signed for the servers; none: those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate of the host with its key, if servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Durable topics, and how long their events are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// Which topics.
    pub pattern: Pattern,
    /// How long an event is kept; none: for ever.
    pub max_age: Option<Duration>,
    /// Bytes of events that are kept; none: as many as there is room for.
    pub max_size: Option<ByteSize>,
    /// Events that are kept; none: as many as there is room for.
    pub max_events: Option<u32>,
    /// What an acknowledged event survives.
    pub fsync: Fsync,
}

/// What an event of a durable topic survives once its publisher is told that it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fsync {
    /// The loss of power: a commit, of however many events, waits for the disk.
    #[default]
    Batch,
    /// The end of the host by any means, and not that of the machine.
    Os,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            max_event_size: EVENT_SIZE,
            queue: QUEUE,
            queue_size: QUEUE_BYTES,
            redelivery: RedeliveryConfig::default(),
            journal: None,
            nats: None,
        }
    }
}

impl Default for RedeliveryConfig {
    fn default() -> Self {
        Self {
            ack_deadline: ACK_DEADLINE,
            max_attempts: MAX_ATTEMPTS,
            initial_interval: REDELIVERY_INTERVAL,
            max_interval: MAX_REDELIVERY_INTERVAL,
            blocks_key: true,
        }
    }
}

impl NatsConfig {
    /// The stream "plugmesh" on these servers, without any durable topic.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            stream: "plugmesh".to_owned(),
            topics: Vec::new(),
            max_age: None,
            max_size: None,
            max_events: None,
            max_dead_letters: DEAD_LETTERS,
            max_dead_letter_size: DEAD_LETTER_BYTES,
            replicas: 1,
            user: None,
            password: None,
            token: None,
            tls: None,
        }
    }

    /// Also keeps the events of these topics.
    #[must_use]
    pub fn topic(mut self, topics: Pattern) -> Self {
        self.topics.push(topics);
        self
    }
}

impl JournalConfig {
    /// A journal in this file, with the defaults and without any durable topic.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_size: JOURNAL_SIZE,
            topics: Vec::new(),
            max_dead_letters: DEAD_LETTERS,
            max_dead_letter_size: DEAD_LETTER_BYTES,
        }
    }

    /// Also keeps the events of these topics.
    #[must_use]
    pub fn topic(mut self, topic: TopicConfig) -> Self {
        self.topics.push(topic);
        self
    }
}

impl TopicConfig {
    /// These topics, kept as long as there is room, with [`Fsync::Batch`].
    pub fn new(pattern: Pattern) -> Self {
        Self { pattern, max_age: None, max_size: None, max_events: None, fsync: Fsync::default() }
    }
}

pub(super) fn events(d: &mut Decoder<'_>, node: &Node) -> Option<EventsConfig> {
    let defaults = EventsConfig::default();
    let mut section = Section::open(d, node)?;
    let max_event_size = section.optional(d, "max_event_size", |d, node| size(d, node, &EVENT_SIZES));
    let queue = section.optional(d, "queue", |d, node| integer(d, node, QUEUES));
    let queue_size = section.optional(d, "queue_size", |d, node| size(d, node, &QUEUE_SIZES));
    let redelivery = section.optional(d, "redelivery", redelivery);
    let journal = section.optional(d, "journal", journal);
    let nats = section.optional(d, "nats", nats);
    section.finish(d);
    if journal.is_some() && nats.is_some() {
        return d.refuse_with(
            node,
            format_args!("events are kept by `journal` or by `nats`, not by both"),
            "keep one of them",
        );
    }
    Some(EventsConfig {
        max_event_size: max_event_size.unwrap_or(defaults.max_event_size),
        queue: queue.unwrap_or(defaults.queue),
        queue_size: queue_size.unwrap_or(defaults.queue_size),
        redelivery: redelivery.unwrap_or_default(),
        journal,
        nats,
    })
}

fn redelivery(d: &mut Decoder<'_>, node: &Node) -> Option<RedeliveryConfig> {
    let defaults = RedeliveryConfig::default();
    let mut section = Section::open(d, node)?;
    let ack_deadline = section.optional(d, "ack_deadline", |d, node| duration(d, node, &TIMEOUTS));
    let max_attempts = section.optional(d, "max_attempts", |d, node| integer(d, node, LIMITS));
    let initial = section.optional(d, "initial_interval", |d, node| duration(d, node, &TIMEOUTS));
    let max = section.optional(d, "max_interval", |d, node| duration(d, node, &TIMEOUTS));
    let blocks_key =
        section.optional(d, "on_nack", |d, node| choice(d, node, &[("block", true), ("skip", false)]));
    section.finish(d);
    Some(RedeliveryConfig {
        ack_deadline: ack_deadline.unwrap_or(defaults.ack_deadline),
        max_attempts: max_attempts.unwrap_or(defaults.max_attempts),
        initial_interval: initial.unwrap_or(defaults.initial_interval),
        max_interval: max.unwrap_or(defaults.max_interval),
        blocks_key: blocks_key.unwrap_or(defaults.blocks_key),
    })
}

fn journal(d: &mut Decoder<'_>, node: &Node) -> Option<JournalConfig> {
    let mut section = Section::open(d, node)?;
    let file = section.required(d, "path", path);
    let max_size = section.optional(d, "max_size", |d, node| size(d, node, &JOURNAL_SIZES));
    let topics = section.required(d, "topics", |d, node| list(d, node, MAX_ENTRIES, topic));
    let letters = section.optional(d, "max_dead_letters", |d, node| integer(d, node, 1..=u32::MAX));
    let letter_size = section.optional(d, "max_dead_letter_size", |d, node| size(d, node, &JOURNAL_SIZES));
    section.finish(d);
    let topics = topics?;
    let twice =
        (1..topics.len()).find(|at| topics[..*at].iter().any(|one| one.pattern == topics[*at].pattern));
    if let Some(twice) = twice {
        let pattern = &topics[twice].pattern;
        return d.refuse_with(
            node,
            format_args!("the topics {pattern} stand here twice"),
            "keep one of them",
        );
    }
    let defaults = JournalConfig::new(file?);
    Some(JournalConfig {
        max_size: max_size.unwrap_or(defaults.max_size),
        topics,
        max_dead_letters: letters.unwrap_or(defaults.max_dead_letters),
        max_dead_letter_size: letter_size.unwrap_or(defaults.max_dead_letter_size),
        ..defaults
    })
}

fn nats(d: &mut Decoder<'_>, node: &Node) -> Option<NatsConfig> {
    let mut section = Section::open(d, node)?;
    let servers = section.required(d, "servers", |d, node| list(d, node, MAX_ENTRIES, string));
    let stream = section.optional(d, "stream", string);
    let topics = section.required(d, "topics", |d, node| list(d, node, MAX_ENTRIES, parsed));
    let max_age = section.optional(d, "max_age", |d, node| duration(d, node, &RETENTION_AGES));
    let max_size = section.optional(d, "max_size", |d, node| size(d, node, &JOURNAL_SIZES));
    let max_events = section.optional(d, "max_events", |d, node| integer(d, node, 1..=u32::MAX));
    let letters = section.optional(d, "max_dead_letters", |d, node| integer(d, node, 1..=u32::MAX));
    let letter_size = section.optional(d, "max_dead_letter_size", |d, node| size(d, node, &JOURNAL_SIZES));
    let user = section.optional(d, "user", string);
    let password = section.optional(d, "password", secret);
    let token = section.optional(d, "token", secret);
    let tls = section.optional(d, "tls", nats_tls);
    let replicas = section.optional(d, "replicas", |d, node| integer(d, node, 1..=MAX_REPLICAS));
    section.finish(d);
    let defaults = NatsConfig::new(servers?);
    let stream = stream.unwrap_or_else(|| defaults.stream.clone());
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !is_name(&stream) {
        return d.refuse_with(
            node,
            format_args!("{stream:?} is no name of a stream"),
            "use up to 64 letters, digits, `-` and `_`",
        );
    }
    Some(NatsConfig {
        stream,
        topics: topics?,
        max_age,
        max_size,
        max_events,
        max_dead_letters: letters.unwrap_or(defaults.max_dead_letters),
        max_dead_letter_size: letter_size.unwrap_or(defaults.max_dead_letter_size),
        user,
        password,
        token,
        tls,
        replicas: replicas.unwrap_or(defaults.replicas),
        ..defaults
    })
}

fn nats_tls(d: &mut Decoder<'_>, node: &Node) -> Option<NatsTls> {
    let mut section = Section::open(d, node)?;
    let ca = section.optional(d, "ca", path);
    let cert = section.optional(d, "cert", path);
    let key = section.optional(d, "key", path);
    section.finish(d);
    match (cert, key) {
        (Some(cert), Some(key)) => Some(NatsTls { ca, identity: Some((cert, key)) }),
        (None, None) => Some(NatsTls { ca, identity: None }),
        _ => d.refuse_with(
            node,
            format_args!("a certificate and its key belong together"),
            "give `cert` and `key`, or neither",
        ),
    }
}

fn topic(d: &mut Decoder<'_>, node: &Node) -> Option<TopicConfig> {
    let mut section = Section::open(d, node)?;
    let pattern = section.required(d, "pattern", parsed);
    let max_age = section.optional(d, "max_age", |d, node| duration(d, node, &RETENTION_AGES));
    let max_size = section.optional(d, "max_size", |d, node| size(d, node, &JOURNAL_SIZES));
    let max_events = section.optional(d, "max_events", |d, node| integer(d, node, 1..=u32::MAX));
    let fsync = section
        .optional(d, "fsync", |d, node| choice(d, node, &[("batch", Fsync::Batch), ("os", Fsync::Os)]));
    section.finish(d);
    Some(TopicConfig { pattern: pattern?, max_age, max_size, max_events, fsync: fsync.unwrap_or_default() })
}
