//! The tables of a journal.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{CACHED_STATEMENTS, CHECKPOINT_PAGES, PAGE_BYTES};
use crate::event::journal::options::StreamConfig;

/// "plme": tells a journal from other databases.
const APPLICATION_ID: i64 = 0x706c_6d65;

/// The format of the tables. It rises when an older version could not read them.
pub(in crate::event::journal) const FORMAT: i64 = 1;

/// One table for each stream, so that the oldest rows of a stream lie side by side: retention empties whole pages, which
/// the newest rows then use. For that reason the file is never vacuumed: it has the size that its limits need.
const TABLES: &str = "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE streams(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
        max_age INTEGER, max_bytes INTEGER, max_events INTEGER, removed INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE damaged(stream TEXT, place, count, recorded, events_before, bytes_before, crc, events, found);
    CREATE TABLE cursors(name TEXT PRIMARY KEY, floor INTEGER, state BLOB, crc INTEGER);
    CREATE TABLE dead_letters(id INTEGER PRIMARY KEY AUTOINCREMENT, subscription TEXT, place INTEGER,
        event BLOB, cause INTEGER, reason TEXT, attempts INTEGER, first_delivered INTEGER, given_up INTEGER,
        crc INTEGER);
    CREATE INDEX dead_letters_by_subscription ON dead_letters(subscription, id);
    INSERT INTO meta VALUES('next_place', 1);
";

/// What a database turned out to be.
#[derive(Debug)]
pub(super) enum Kind {
    Journal,
    Foreign,
    Newer(i64),
}

/// Opens a database and holds it for this connection alone.
pub(super) fn connect(path: &Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    // One thread uses it, so its own locks are left out.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Opens the database of a journal, and makes its tables if it is empty.
pub(super) fn open(path: &Path, vfs: Option<&str>) -> rusqlite::Result<(Connection, Kind)> {
    let connection = connect(path, vfs)?;
    // Before the log is first used, so that its index is in memory and not in a file that is shared.
    connection.execute_batch(&format!("PRAGMA locking_mode=EXCLUSIVE; PRAGMA page_size={PAGE_BYTES};"))?;
    let is_empty = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id != APPLICATION_ID && !(id == 0 && is_empty) {
        return Ok((connection, Kind::Foreign));
    }
    let format: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format > FORMAT {
        return Ok((connection, Kind::Newer(format)));
    }
    configure(&connection)?;
    if is_empty {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT}; COMMIT;"
        ))?;
    }
    Ok((connection, Kind::Journal))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(mode, "the journal has no write-ahead log; it is slower");
    }
    connection.execute_batch(&format!(
        "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};
         PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16384; PRAGMA foreign_keys=OFF;"
    ))
}

/// Writes all of the log into the database.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The id of a stream, which gets a table when it is new.
pub(super) fn ensure_stream(connection: &Connection, config: &StreamConfig) -> rusqlite::Result<i64> {
    let max_age = config.max_age.map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
    // What the database cannot hold is as good as no limit.
    let number = |limit: Option<u64>| limit.map(|limit| limit.min(i64::MAX as u64));
    let limits = (&config.name, number(max_age), number(config.max_bytes), number(config.max_events));
    // Only what changed is written: a full disk is no reason not to open.
    let known =
        "SELECT id, max_age IS ?2 AND max_bytes IS ?3 AND max_events IS ?4 FROM streams WHERE name=?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?));
    let known = connection.query_row(known, limits, read).optional()?;
    if let Some((id, is_same)) = known {
        if !is_same {
            let update = "UPDATE streams SET max_age=?2, max_bytes=?3, max_events=?4 WHERE name=?1";
            connection.execute(update, limits)?;
        }
        return Ok(id);
    }
    let insert = "INSERT INTO streams(name, max_age, max_bytes, max_events) VALUES(?1, ?2, ?3, ?4)";
    // Whoever finds the name finds the table as well.
    let transaction = connection.unchecked_transaction()?;
    transaction.execute(insert, limits)?;
    let id = transaction.last_insert_rowid();
    transaction.execute_batch(&format!(
        "CREATE TABLE stream_{id}(place INTEGER PRIMARY KEY, count INTEGER, recorded INTEGER,
            events_before INTEGER, bytes_before INTEGER, crc INTEGER, events BLOB);"
    ))?;
    transaction.commit()?;
    Ok(id)
}

/// The streams that are known, with the limits that they had last.
pub(super) fn streams(connection: &Connection) -> rusqlite::Result<Vec<(i64, StreamConfig)>> {
    let mut statement =
        connection.prepare("SELECT id, name, max_age, max_bytes, max_events FROM streams ORDER BY id")?;
    let read = |row: &rusqlite::Row<'_>| {
        let max_age: Option<u64> = row.get(2)?;
        let config = StreamConfig {
            name: row.get(1)?,
            max_age: max_age.map(Duration::from_micros),
            max_bytes: row.get(3)?,
            max_events: row.get(4)?,
            fsync: Default::default(),
        };
        Ok((row.get(0)?, config))
    };
    statement.query_map([], read)?.collect()
}
