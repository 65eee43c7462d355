//! What a journal is told when it is opened.

use std::path::PathBuf;
use std::time::Duration;

use super::clock::TimeSource;
pub(crate) use crate::config::Fsync;
use crate::config::{ByteSize, JournalConfig};

/// How often ages are looked at: they are configured in minutes at least.
const TICK: Duration = Duration::from_secs(1);

/// How to open a journal.
#[derive(Clone, Debug)]
pub(crate) struct JournalOptions {
    /// The database. Its directory exists. Beside it lie files of the same name with an ending: `-wal`, `.lock`, `.head`,
    /// and `.damaged-<n>` for what was found damaged.
    pub(crate) path: PathBuf,
    /// The retention classes. One that is no longer here, but in the journal, is kept as it was configured last.
    pub(crate) streams: Vec<StreamConfig>,
    /// The most bytes of the database; what would go beyond it is refused. The log beside it has some
    /// 16 MiB more.
    pub(crate) max_bytes_total: u64,
    /// The most dead letters; beyond it the oldest goes.
    pub(crate) max_dead_letters: u64,
    /// The most bytes of their events; beyond it the oldest goes.
    pub(crate) max_dead_letter_bytes: u64,
    pub(super) time: TimeSource,
    /// How often ages are looked at.
    pub(super) tick: Duration,
    /// The file layer of SQLite to use in place of the usual one.
    #[cfg(test)]
    pub(super) vfs: Option<String>,
}

/// A retention class. Whole rows go, the oldest first, once any limit is exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamConfig {
    /// Tells it from the others.
    pub(crate) name: String,
    /// How long an event is kept. `None`: for ever.
    pub(crate) max_age: Option<Duration>,
    /// How many bytes of events are kept. `None`: as many as there is room for.
    pub(crate) max_bytes: Option<u64>,
    /// How many events are kept. `None`: as many as there is room for.
    pub(crate) max_events: Option<u64>,
    /// What an acknowledged event survives.
    pub(crate) fsync: Fsync,
}

impl JournalOptions {
    /// As it is configured: each entry of the topics is a stream, named after its pattern.
    pub(crate) fn new(config: &JournalConfig) -> Self {
        let streams = config.topics.iter().map(|topic| StreamConfig {
            name: topic.pattern.to_string(),
            max_age: topic.max_age,
            max_bytes: topic.max_size.map(ByteSize::as_u64),
            max_events: topic.max_events.map(u64::from),
            fsync: topic.fsync,
        });
        Self {
            path: config.path.clone(),
            streams: streams.collect(),
            max_bytes_total: config.max_size.as_u64(),
            max_dead_letters: u64::from(config.max_dead_letters),
            max_dead_letter_bytes: config.max_dead_letter_size.as_u64(),
            time: TimeSource::default(),
            tick: TICK,
            #[cfg(test)]
            vfs: None,
        }
    }
}

impl StreamConfig {
    /// One without limits.
    pub(crate) fn new(name: impl Into<String>, fsync: Fsync) -> Self {
        Self { name: name.into(), max_age: None, max_bytes: None, max_events: None, fsync }
    }
}
