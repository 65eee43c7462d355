//! Replacing a damaged database by a fresh one with all that is sound in it.
//!
//! The damaged one is only read, and kept. The fresh one is complete and on the disk before it takes the other's place, so that this may be
//! cut off at any time and begin anew.

mod walk;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use self::walk::walk;
use super::dead_letter::NewDeadLetter;
use super::{Cursor, Files, Store, Stream, schema};
use crate::BoxError;
use crate::event::journal::options::{Fsync, JournalOptions, StreamConfig};
use crate::event::journal::row::{COLUMNS, Content, Row};

/// How far the next place is moved on, since places may have been given that nobody can read any more: more than are given between two
/// checkpoints of the log, for events of 16 bytes and more.
const LEAP: u64 = 1 << 20;

/// Rows that are copied in one transaction.
const ROWS_AT_ONCE: u64 = 1024;

/// A database was damaged, and replaced by what was sound in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Salvage {
    /// Where the damaged database is kept, with its log beside it.
    pub(crate) kept_at: PathBuf,
    /// Events that were sound.
    pub(crate) events: u64,
    /// Rows that could be read and are not what was recorded; they are kept in the new database, too.
    pub(crate) damaged_rows: u64,
    /// What could not be read: the table, and the places or numbers in which it is. Not all of them need to have been in use.
    pub(crate) unreadable: Vec<(String, RangeInclusive<u64>)>,
}

/// Makes the fresh database, and puts it in place of the damaged one.
pub(super) fn run(options: &JournalOptions, files: &Files) -> Result<Salvage, BoxError> {
    files.remove_temporary()?;
    let options = JournalOptions { max_bytes_total: u64::MAX, ..options.clone() };
    let (mut fresh, _) = Store::open_at(&options, &files.salvage_path(), None)?;
    let mut salvage = Salvage::default();
    let source = match connect(&files.path) {
        Ok(source) => Some(source),
        Err(error) => {
            tracing::warn!(%error, "the damaged journal has no sound first page; the saved one is used");
            files.patch()?.and_then(|patched| connect(&patched).ok())
        }
    };
    match source {
        Some(source) => copy(&source, &mut fresh, &mut salvage)?,
        None => salvage.unreadable.push(("all".to_owned(), 0..=u64::MAX)),
    }
    fresh.ledger.next_place += LEAP;
    fresh.save_next_place()?;
    fresh.checkpoint()?;
    drop(fresh);
    salvage.kept_at = files.replace()?;
    files.remove_temporary()?;
    tracing::error!(
        path = %files.path.display(),
        kept_at = %salvage.kept_at.display(),
        events = salvage.events,
        damaged_rows = salvage.damaged_rows,
        unreadable = ?salvage.unreadable,
        "the journal was damaged; a fresh one has what was sound, and the damaged one is kept"
    );
    Ok(salvage)
}

/// Opens a damaged database, to read it only.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let source = schema::connect(path, None)?;
    source.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA cell_size_check=ON;")?;
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // One that was cut off is not opened otherwise.
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    source.query_row("SELECT count(*) FROM sqlite_schema WHERE name='meta'", [], |row| {
        if row.get::<_, i64>(0)? == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
    })?;
    Ok(source)
}

fn copy(source: &Connection, fresh: &mut Store, salvage: &mut Salvage) -> Result<(), BoxError> {
    let mut next_place = source
        .query_row("SELECT value FROM meta WHERE key='next_place'", [], |row| row.get(0))
        .unwrap_or(1)
        .max(fresh.ledger.next_place);
    for (id, config) in streams(source)? {
        let index = fresh.stream_for_salvage(config)?;
        next_place = next_place.max(copy_stream(source, id, fresh, index, salvage)?);
    }
    let floor = copy_cursors(source, fresh, salvage)?;
    // A cursor beyond the end would skip what comes next.
    fresh.ledger.next_place = next_place.max(floor + 1);
    copy_dead_letters(source, fresh, salvage)?;
    copy_damaged(source, fresh, salvage)
}

/// The streams of a database: as it lists them, and those of which only the table is left.
fn streams(source: &Connection) -> Result<Vec<(i64, StreamConfig)>, BoxError> {
    let mut streams = schema::streams(source).unwrap_or_default();
    let mut tables = source.prepare(
        "SELECT name FROM sqlite_schema WHERE type='table' AND name LIKE 'stream\\_%' ESCAPE '\\'",
    )?;
    let mut rows = tables.query([])?;
    while let Ok(Some(row)) = rows.next() {
        let Ok(name) = row.get::<_, String>(0) else { continue };
        let Some(id) = name.strip_prefix("stream_").and_then(|id| id.parse().ok()) else { continue };
        if !streams.iter().any(|(known, _)| *known == id) {
            streams.push((id, StreamConfig::new(format!("recovered-{id}"), Fsync::Batch)));
        }
    }
    Ok(streams)
}

/// Copies the rows of a stream, and says the place after the last one.
fn copy_stream(
    source: &Connection,
    id: i64,
    fresh: &mut Store,
    index: usize,
    salvage: &mut Salvage,
) -> Result<u64, BoxError> {
    let table = format!("stream_{id}");
    let name = fresh.streams[index].config.name.clone();
    let mut next = 0;
    let mut transaction = 0;
    fresh.begin(Fsync::Os)?;
    let unreadable = walk(source, &table, COLUMNS, |sql| {
        transaction += 1;
        if transaction % ROWS_AT_ONCE == 0 {
            fresh.commit()?;
            fresh.begin(Fsync::Os)?;
        }
        match Row::read(sql, id)? {
            Content::Sound(row) if row.place >= next => {
                fresh.insert(index, row.place, row.count, row.recorded, &row.bytes)?;
                salvage.events += u64::from(row.count);
                next = row.place + u64::from(row.count);
            }
            // Also one out of order: rows are written in the order of their places.
            Content::Sound(_) | Content::Damaged { .. } => {
                salvage.damaged_rows += 1;
                fresh.keep_damaged(sql, &name)?;
            }
        }
        Ok(())
    });
    fresh.commit()?;
    salvage.unreadable.extend(unreadable?.into_iter().map(|range| (name.clone(), range)));
    Ok(next)
}

/// Copies the cursors, and says the highest floor.
fn copy_cursors(source: &Connection, fresh: &mut Store, salvage: &mut Salvage) -> Result<u64, BoxError> {
    let mut highest = 0;
    let unreadable = walk(source, "cursors", "rowid, name, floor, state, crc", |row| {
        match Cursor::read(row, 1)? {
            Ok(cursor) => {
                highest = highest.max(cursor.floor);
                fresh.save_cursor(&cursor)?;
            }
            Err(name) => salvage.unreadable.push((format!("cursor {name}"), 0..=0)),
        }
        Ok(())
    })?;
    salvage.unreadable.extend(unreadable.into_iter().map(|range| ("cursors".to_owned(), range)));
    Ok(highest)
}

fn copy_dead_letters(source: &Connection, fresh: &mut Store, salvage: &mut Salvage) -> Result<(), BoxError> {
    let unreadable = walk(source, "dead_letters", super::dead_letter::COLUMNS, |row| {
        let (letter, crc) = (NewDeadLetter::read(row), row.get(9).unwrap_or_default());
        fresh.insert_dead_letter(Some(row.get(0)?), &letter, crc)?;
        Ok(())
    })?;
    salvage.unreadable.extend(unreadable.into_iter().map(|range| ("dead_letters".to_owned(), range)));
    Ok(())
}

/// Copies what was put aside before.
fn copy_damaged(source: &Connection, fresh: &mut Store, salvage: &mut Salvage) -> Result<(), BoxError> {
    let columns = "rowid, place, count, recorded, events_before, bytes_before, crc, events, found, stream";
    let unreadable = walk(source, "damaged", columns, |row| {
        let mut insert = fresh.connection.prepare_cached(
            "INSERT INTO damaged(place, count, recorded, events_before, bytes_before, crc, events, found, stream)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for column in 1..10 {
            insert.raw_bind_parameter(column, row.get::<_, rusqlite::types::Value>(column)?)?;
        }
        insert.raw_execute()?;
        Ok(())
    })?;
    salvage.unreadable.extend(unreadable.into_iter().map(|range| ("damaged".to_owned(), range)));
    Ok(())
}

impl Store {
    fn stream_for_salvage(&mut self, config: StreamConfig) -> rusqlite::Result<usize> {
        if let Some(index) = self.streams.iter().position(|stream| stream.config.name == config.name) {
            return Ok(index);
        }
        let id = schema::ensure_stream(&self.connection, &config)?;
        self.streams.push(Stream::new(id, config));
        self.ledger.streams.push(Default::default());
        Ok(self.streams.len() - 1)
    }

    /// Keeps a row of a damaged database as it is.
    fn keep_damaged(&mut self, row: &rusqlite::Row<'_>, stream: &str) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO damaged(place, count, recorded, events_before, bytes_before, crc, events, found, stream)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for column in 0..7 {
            insert.raw_bind_parameter(column + 1, row.get::<_, rusqlite::types::Value>(column)?)?;
        }
        insert.raw_bind_parameter(8, self.clock.wall())?;
        insert.raw_bind_parameter(9, stream)?;
        insert.raw_execute()?;
        Ok(())
    }
}
