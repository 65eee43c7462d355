//! Opening the database: making it, taking stock of it, and replacing it when it is damaged.

use std::collections::HashSet;

use rusqlite::ErrorCode;

use super::read::Bad;
use super::salvage::{self, Salvage};
use super::schema::{self, FORMAT, Kind};
use super::{Cursor, Extent, Files, Ledger, Limits, PAGE_BYTES, RESERVED_PAGES, Store, Stream};
use crate::event::journal::clock::{Clock, Micros};
use crate::event::journal::error::{OpenError, code, is_damage};
use crate::event::journal::options::JournalOptions;
use crate::event::journal::row::{Content, Damaged, Row, Sums};

/// What was found in a database.
#[derive(Debug, Default)]
pub(in crate::event::journal) struct Findings {
    pub(in crate::event::journal) cursors: Vec<Cursor>,
    /// Names of cursors that are not what was saved.
    pub(in crate::event::journal) damaged_cursors: Vec<String>,
    /// Rows that were put aside.
    pub(in crate::event::journal) damaged: Vec<Damaged>,
    /// The database was replaced.
    pub(in crate::event::journal) salvage: Option<Salvage>,
    /// Names of streams that are no longer configured and still hold events.
    pub(in crate::event::journal) retired: Vec<String>,
}

/// Why a database is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("it is the database of something else")]
    Foreign,
    #[error("it is of a later version")]
    Newer(i64),
}

/// Opens the database, replacing it by what is sound in it when it is damaged, or `is_known_damaged`.
pub(in crate::event::journal) fn open(
    options: &JournalOptions,
    files: &Files,
    is_known_damaged: bool,
) -> Result<(Store, Findings), OpenError> {
    files.create()?;
    if !is_known_damaged && !files.is_cut_to_nothing() {
        match Store::open(options, files) {
            Ok(opened) => return Ok(opened),
            Err(error) if is_replaceable(&error, files) => {
                tracing::error!(path = %files.path.display(), %error, "the journal is damaged");
            }
            Err(error) => return Err(open_error(options, error)),
        }
    }
    let failed = |source| OpenError::Salvage { path: options.path.clone(), source };
    let salvage = salvage::run(options, files).map_err(failed)?;
    let (store, mut findings) = Store::open(options, files).map_err(|error| open_error(options, error))?;
    findings.salvage = Some(salvage);
    Ok((store, findings))
}

/// Whether what is there was a journal, and is damaged. Nothing else is ever replaced.
fn is_replaceable(error: &StoreError, files: &Files) -> bool {
    // Saved by this version of the journal: what says otherwise is the damage.
    files.has_head()
        && match error {
            // `Unknown`: a table that was there is no longer found.
            StoreError::Database(error) => is_damage(error) || code(error) == Some(ErrorCode::Unknown),
            StoreError::Foreign | StoreError::Newer(_) => true,
        }
}

fn open_error(options: &JournalOptions, error: StoreError) -> OpenError {
    let path = options.path.clone();
    match error {
        StoreError::Foreign => OpenError::Foreign { path },
        StoreError::Newer(found) => OpenError::Newer { path, found, known: FORMAT },
        StoreError::Database(error) => match code(&error) {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse { path },
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { path },
            _ => OpenError::Database { path, source: error },
        },
    }
}

impl Store {
    fn open(options: &JournalOptions, files: &Files) -> Result<(Self, Findings), StoreError> {
        #[cfg(test)]
        let vfs = options.vfs.as_deref();
        #[cfg(not(test))]
        let vfs = None;
        let (mut store, findings) = Self::open_at(options, &files.path, vfs)?;
        match store.checkpoint() {
            Ok(()) if vfs.is_some() => {}
            Ok(()) => {
                if let Err(error) = files.save_head() {
                    tracing::warn!(path = %files.path.display(), %error, "the first page of the journal cannot be saved");
                }
            }
            // What is there can be read, and appends say why they fail.
            Err(error) if code(&error) == Some(ErrorCode::DiskFull) => {
                tracing::warn!(path = %files.path.display(), %error, "the disk of the journal is full");
            }
            Err(error) => return Err(error.into()),
        }
        store.ledger.damaged_rows = store.count_damaged()?;
        Ok((store, findings))
    }

    /// Opens the database of a journal at any path.
    pub(super) fn open_at(
        options: &JournalOptions,
        path: &std::path::Path,
        vfs: Option<&str>,
    ) -> Result<(Self, Findings), StoreError> {
        let (connection, kind) = schema::open(path, vfs)?;
        match kind {
            Kind::Journal => {}
            Kind::Foreign => return Err(StoreError::Foreign),
            Kind::Newer(format) => return Err(StoreError::Newer(format)),
        }
        // Whoever closes it decides whether the log is written into it: a host that is dropped has no time.
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let pages = options.max_bytes_total / PAGE_BYTES as u64;
        connection.query_row(
            &format!(
                "PRAGMA max_page_count={}",
                pages.saturating_add(RESERVED_PAGES).min(u64::from(u32::MAX - 1))
            ),
            [],
            |_| Ok(()),
        )?;
        let limits = Limits {
            pages,
            dead_letters: options.max_dead_letters,
            dead_letter_bytes: options.max_dead_letter_bytes,
        };
        let clock = Clock::start(options.time.clone(), 0, 1);
        let ledger = Ledger::default();
        let mut store =
            Self { connection, ledger, saved: None, streams: Vec::new(), clock, limits, is_full_sync: false };
        let findings = store.take_stock(options)?;
        Ok((store, findings))
    }

    fn take_stock(&mut self, options: &JournalOptions) -> rusqlite::Result<Findings> {
        let mut findings = Findings::default();
        let configured: HashSet<_> = options.streams.iter().map(|stream| &*stream.name).collect();
        for config in &options.streams {
            let id = schema::ensure_stream(&self.connection, config)?;
            self.streams.push(Stream::new(id, config.clone()));
        }
        let known = schema::streams(&self.connection)?;
        for (id, config) in known.into_iter().filter(|(_, config)| !configured.contains(&*config.name)) {
            self.streams.push(Stream::new(id, config));
        }
        self.ledger.next_place =
            self.connection
                .query_row("SELECT value FROM meta WHERE key='next_place'", [], |row| row.get(0))?;
        self.ledger.streams = vec![Extent::default(); self.streams.len()];
        let mut newest = 0;
        for index in 0..self.streams.len() {
            newest = newest.max(self.take_stock_of(index, &mut findings.damaged)?);
            let removed = "SELECT removed FROM streams WHERE id=?1";
            self.ledger.streams[index].removed =
                self.connection.query_row(removed, [self.streams[index].id], |row| row.get(0))?;
            let is_retired = index >= options.streams.len();
            if is_retired && self.ledger.streams[index].first.is_some() {
                findings.retired.push(self.streams[index].config.name.clone());
            }
        }
        (findings.cursors, findings.damaged_cursors) = self.cursors()?;
        let sums = "SELECT count(*), coalesce(sum(length(event)), 0) FROM dead_letters";
        (self.ledger.dead_letters, self.ledger.dead_letter_bytes) =
            self.connection.query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.clock = Clock::start(options.time.clone(), newest, self.ledger.next_place);
        Ok(findings)
    }

    /// Finds the ends of a stream, and says when its newest row was recorded.
    fn take_stock_of(&mut self, index: usize, damaged: &mut Vec<Damaged>) -> rusqlite::Result<Micros> {
        let mut put_aside = None;
        loop {
            let newest = self.newest_row(index)?;
            match newest {
                None => {
                    self.ledger.streams[index] = Extent::default();
                    return Ok(0);
                }
                // What comes next is counted from it, so it has to be sound.
                Some(Content::Damaged { place, count }) => {
                    let next = place.saturating_add(u64::from(count));
                    // A place beyond reason is the damage itself.
                    if next < self.ledger.next_place.saturating_add(u64::from(u32::MAX)) {
                        self.ledger.next_place = self.ledger.next_place.max(next);
                    }
                    if put_aside.replace(place) == Some(place) {
                        // It was deleted, and is still there: the tree is damaged.
                        let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
                        return Err(rusqlite::Error::SqliteFailure(corrupt, None));
                    }
                    damaged.push(self.put_aside(Bad { stream: index, place, count })?);
                }
                Some(Content::Sound(row)) => {
                    let end = Sums {
                        events: row.before.events + u64::from(row.count),
                        bytes: row.before.bytes + row.bytes.len() as u64,
                    };
                    self.ledger.streams[index] = Extent { first: None, end, ..Extent::default() };
                    self.ledger.next_place = self.ledger.next_place.max(row.place + u64::from(row.count));
                    self.find_first(index)?;
                    return Ok(row.recorded);
                }
            }
        }
    }

    fn newest_row(&self, index: usize) -> rusqlite::Result<Option<Content>> {
        let stream = &self.streams[index];
        let mut select = self.connection.prepare_cached(&stream.before)?;
        let mut rows = select.query([i64::MAX])?;
        rows.next()?.map(|row| Row::read(row, stream.id)).transpose()
    }

    fn count_damaged(&self) -> rusqlite::Result<u64> {
        self.connection.query_row("SELECT count(*) FROM damaged", [], |row| row.get(0))
    }
}

#[cfg(test)]
mod tests;
