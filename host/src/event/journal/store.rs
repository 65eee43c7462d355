//! The database of a journal: what its one thread does with it.
//!
//! Changes are made between [`Store::begin`] and [`Store::commit`]; what is remembered of the database (the [`Ledger`]) goes back
//! with a transaction that fails.

mod append;
mod cursor;
mod damage;
mod dead_letter;
mod files;
mod open;
mod read;
mod retention;
mod salvage;
mod schema;

use std::sync::Arc;

use rusqlite::Connection;

pub(super) use append::Appender;
pub(crate) use cursor::Cursor;
pub(crate) use dead_letter::{DeadLetter, DeadLetterPage, NewDeadLetter};
pub(super) use files::Files;
pub(super) use open::{Findings, open};
pub(crate) use read::Read;
#[cfg(any(test, feature = "nats"))]
pub(crate) use read::Stored;
pub(super) use read::Wanted;
pub(crate) use salvage::Salvage;

use super::clock::{Clock, Micros};
use super::options::{Fsync, StreamConfig};
use super::row::Sums;

/// Size of a page. A commit writes whole pages: small commits want small ones, and events are far smaller.
const PAGE_BYTES: usize = 4096;

/// Pages of the log after which its content is brought into the database: 16 MiB, so that under load this costs two waits for
/// the disk every some hundred thousand events, and opening after a crash reads no more than that.
const CHECKPOINT_PAGES: usize = 4096;

/// Compiled statements that are kept: four for each of 16 streams that are in use at once, and the others.
const CACHED_STATEMENTS: usize = 96;

/// Pages beyond the limit that only progress, dead letters and what a deletion needs may use: 4 MiB.
const RESERVED_PAGES: u64 = 1024;

/// The open database.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    pub(super) ledger: Ledger,
    /// As it was before the open transaction.
    saved: Option<Ledger>,
    streams: Vec<Stream>,
    clock: Clock,
    limits: Limits,
    /// Whether commits wait for the disk by now.
    is_full_sync: bool,
}

/// The limits over all streams.
#[derive(Clone, Copy, Debug)]
struct Limits {
    pages: u64,
    dead_letters: u64,
    dead_letter_bytes: u64,
}

/// A retention class in the database.
#[derive(Debug)]
struct Stream {
    config: StreamConfig,
    name: Arc<str>,
    id: i64,
    insert: String,
    /// The place of the row in which a place is, or is before all.
    seek: String,
    from: String,
    before: String,
}

/// What is in the database, to be told without reading it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) next_place: u64,
    streams: Vec<Extent>,
    pub(super) dead_letters: u64,
    pub(super) dead_letter_bytes: u64,
    /// Since the database was opened.
    pub(super) dead_letters_dropped: u64,
    pub(super) damaged_rows: u64,
}

/// What a stream holds.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    /// The oldest row. `None`: it is empty.
    first: Option<First>,
    /// After the newest row.
    end: Sums,
    /// The last place up to which events were deleted because enough were kept.
    removed: u64,
}

#[derive(Clone, Copy, Debug)]
struct First {
    place: u64,
    recorded: Micros,
    before: Sums,
}

impl Extent {
    fn held(&self) -> Sums {
        self.first.map_or(Sums::default(), |first| Sums {
            events: self.end.events.saturating_sub(first.before.events),
            bytes: self.end.bytes.saturating_sub(first.before.bytes),
        })
    }
}

impl Ledger {
    /// Of the oldest event; that of the next one when there is none.
    pub(super) fn first_place(&self) -> u64 {
        let firsts = self.streams.iter().filter_map(|stream| stream.first);
        firsts.map(|first| first.place).min().unwrap_or(self.next_place)
    }

    pub(super) fn events(&self) -> u64 {
        self.streams.iter().map(|stream| stream.held().events).sum()
    }
}

impl Stream {
    fn new(id: i64, config: StreamConfig) -> Self {
        let columns = super::row::COLUMNS;
        Self {
            name: config.name.as_str().into(),
            config,
            id,
            insert: format!("INSERT INTO stream_{id}({columns}) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
            seek: format!("SELECT max(place) FROM stream_{id} WHERE place <= ?1"),
            from: format!("SELECT {columns} FROM stream_{id} WHERE place >= ?1 ORDER BY place"),
            before: format!("SELECT {columns} FROM stream_{id} WHERE place < ?1 ORDER BY place DESC"),
        }
    }
}

impl Store {
    /// Opens a transaction that survives what `fsync` says once it is committed.
    pub(super) fn begin(&mut self, fsync: Fsync) -> rusqlite::Result<()> {
        let full_sync = fsync == Fsync::Batch;
        if full_sync != self.is_full_sync {
            // Cannot be changed within a transaction.
            self.connection.execute_batch(if full_sync {
                "PRAGMA synchronous=FULL"
            } else {
                "PRAGMA synchronous=NORMAL"
            })?;
            self.is_full_sync = full_sync;
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.saved = Some(self.ledger.clone());
        Ok(())
    }

    /// Makes what was done since [`begin`](Self::begin) last.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.saved = None;
        Ok(())
    }

    /// Undoes what was done since [`begin`](Self::begin).
    pub(super) fn roll_back(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.ledger = saved;
        }
        // Some errors end a transaction by themselves.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a transaction of the journal cannot be undone; it is opened anew");
        }
    }

    /// Whether a transaction is open that could not be undone.
    pub(super) fn is_stuck(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Bytes that may still be recorded.
    pub(super) fn room(&self) -> rusqlite::Result<u64> {
        let number =
            |pragma| self.connection.prepare_cached(pragma)?.query_row([], |row| row.get::<_, u64>(0));
        let used = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
        Ok(self.limits.pages.saturating_sub(used) * PAGE_BYTES as u64)
    }

    pub(super) fn fsync(&self, stream: usize) -> Fsync {
        self.streams.get(stream).map_or(Fsync::Os, |stream| stream.config.fsync)
    }

    /// Writes the log into the database, so that the next to open it has nothing to do.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        schema::checkpoint(&self.connection)
    }
}
