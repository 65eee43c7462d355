//! What can go wrong with a journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error(
        "the journal {} is in use by another process; a journal has one host: end the other, or give this one a path of its own",
        .path.display()
    )]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A file beside it, or its directory, cannot be used.
    #[error("cannot use {}; check that the directory exists and that this user may write there", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A sound database that is not a journal.
    #[error("{} is the database of something else; give the journal another path", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later version has written it.
    #[error(
        "the journal {} has format {found}, and this version knows {known}; use the later version again, or move the file away",
        .path.display()
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest that is known here.
        known: i64,
    },
    /// Two streams with one name.
    #[error("the stream {name:?} is configured twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// The database refuses.
    #[error("cannot open the journal {}; check its disk, and that this user may write there", .path.display())]
    Database {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// It is damaged, and what is sound in it cannot be copied.
    #[error(
        "the journal {} is damaged, and the sound part cannot be copied to a fresh file; check that the disk has room for it, or move the file away",
        .path.display()
    )]
    Salvage {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: crate::BoxError,
    },
    /// The broker that should keep the events does not.
    #[error(
        "cannot keep events in NATS at {servers}; check `events.nats`, and that the server runs with JetStream (-js)"
    )]
    Nats {
        /// Where it should be.
        servers: String,
        /// Why.
        #[source]
        source: crate::BoxError,
    },
    /// This program cannot use NATS.
    #[error(
        "this program was built without NATS; build it with `--features nats`, or configure `events.journal`"
    )]
    WithoutNats,
    /// Events are to be kept in two places.
    #[error("events are kept by `events.journal` or by `events.nats`; leave one of them out")]
    TwoLogs,
    /// No thread could be had.
    #[error("the journal cannot start its thread; check the limits of processes (ulimit -u)")]
    Thread(#[source] io::Error),
}

/// Why a journal did not do what it was asked. Nothing of it was recorded.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The disk has no room.
    #[error("the disk of the journal {} is full; make room there, or let its streams keep less", .path.display())]
    Full {
        /// The journal.
        path: Arc<Path>,
    },
    /// It has reached the bytes that it may have.
    #[error(
        "the journal {} has reached its {max_bytes} bytes; allow it more in total, or let its streams keep less",
        .path.display()
    )]
    LimitReached {
        /// The journal.
        path: Arc<Path>,
        /// What it may have.
        max_bytes: u64,
    },
    /// More than fits into one append or one change.
    #[error("{bytes} bytes are too many to record at once; {most} are allowed")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        most: usize,
    },
    /// The database refuses. It is opened anew for what comes next.
    #[error("cannot use the journal {}; check its disk", .path.display())]
    Failed {
        /// The journal.
        path: Arc<Path>,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The broker that keeps the events does not do it.
    #[cfg(feature = "nats")]
    #[error("NATS at {servers} does not {what}; check that it runs, and what it logs")]
    Broker {
        /// Where it should be.
        servers: Arc<str>,
        /// What it was asked to do.
        what: &'static str,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Members on another host use a durable name.
    #[cfg(feature = "nats")]
    #[error("the durable name {name:?} is in use on another host; end its subscribers first")]
    NameInUse {
        /// Which.
        name: String,
    },
    /// It was closed.
    #[error("the journal {} is closed, as the host shuts down", .path.display())]
    Closed {
        /// The journal.
        path: Arc<Path>,
    },
}

impl JournalError {
    pub(super) fn of(path: &Arc<Path>, error: rusqlite::Error) -> Self {
        match code(&error) {
            Some(ErrorCode::DiskFull) => Self::Full { path: path.clone() },
            _ => Self::Failed { path: path.clone(), source: Arc::new(error) },
        }
    }
}

pub(super) fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

/// Whether the database itself is damaged: SQLite says so, or a value is not what was written.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match code(error) {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => true,
        Some(_) => false,
        None => is_odd_value(error),
    }
}

/// Whether a value has a type or a range that was never written.
pub(super) fn is_odd_value(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    matches!(
        error,
        Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::FromSqlConversionFailure(..)
            | Error::Utf8Error(..)
    )
}
