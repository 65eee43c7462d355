//! Events that were given up.

use std::time::SystemTime;

use bytes::Bytes;
use plugmesh::event::v1::Cause;
use rusqlite::{OptionalExtension as _, Row};

use super::Store;
use crate::event::journal::clock::{micros, time};
use crate::event::journal::row::checksum_of;

/// Bytes of a reason that are kept: what a handler said, for people.
const MAX_REASON_BYTES: usize = 1024;

/// Bytes of the events of a page: with the rest of the letters they fit into a gRPC message of the usual 4 MiB.
const PAGE_BYTES: usize = 3 << 20;

/// Columns of a dead letter, as [`NewDeadLetter::read`] takes them.
pub(super) const COLUMNS: &str =
    "id, subscription, place, event, cause, reason, attempts, first_delivered, given_up, crc";

/// An event that is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewDeadLetter {
    /// Who gave it up.
    pub(crate) subscription: String,
    /// Where it was in the journal, if it was.
    pub(crate) place: Option<u64>,
    /// The event, without tag and length.
    pub(crate) event: Bytes,
    /// Why.
    pub(crate) cause: Cause,
    /// What the last handler said; the first KiB is kept.
    pub(crate) reason: String,
    /// How often it was delivered.
    pub(crate) attempts: u32,
    /// When it was first delivered.
    pub(crate) first_delivered: SystemTime,
    /// When it was given up.
    pub(crate) given_up: SystemTime,
}

/// An event that was given up, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// Tells it from the others; later ones have higher ids, and none is used again.
    pub(crate) id: u64,
    /// What was given up.
    pub(crate) letter: NewDeadLetter,
    /// Whether it is what was written. One that is not is shown, too, as far as it can be read.
    pub(crate) is_sound: bool,
}

/// Some dead letters, the oldest first: so many that memory is bounded whatever they hold, and one at least if there is any.
#[derive(Debug)]
pub(crate) struct DeadLetterPage {
    /// What was found.
    pub(crate) letters: Vec<DeadLetter>,
    /// Whether there are more behind them.
    pub(crate) has_more: bool,
    most: usize,
    bytes: usize,
}

impl DeadLetterPage {
    /// None yet, and not more than `most`.
    pub(crate) fn up_to(most: usize) -> Self {
        Self { letters: Vec::new(), has_more: false, most, bytes: 0 }
    }

    /// Takes one more, unless it is too much: `false`.
    pub(crate) fn add(&mut self, letter: DeadLetter) -> bool {
        self.bytes += letter.letter.event.len();
        self.has_more =
            !self.letters.is_empty() && (self.letters.len() >= self.most || self.bytes > PAGE_BYTES);
        if !self.has_more {
            self.letters.push(letter);
        }
        !self.has_more
    }

    /// The id of the last one.
    pub(crate) fn last(&self) -> Option<u64> {
        self.letters.last().map(|letter| letter.id)
    }
}

impl NewDeadLetter {
    pub(super) fn checksum(&self) -> u32 {
        checksum_of(&[
            self.subscription.as_bytes(),
            &self.place.map_or([0xff; 8], u64::to_le_bytes),
            &self.event,
            &(self.cause as i32).to_le_bytes(),
            self.reason.as_bytes(),
            &self.attempts.to_le_bytes(),
            &micros(self.first_delivered).to_le_bytes(),
            &micros(self.given_up).to_le_bytes(),
        ])
    }

    /// Reads the columns of [`COLUMNS`]. What is not of its type is left out: the checksum tells.
    pub(super) fn read(row: &Row<'_>) -> Self {
        let event: Vec<u8> = row.get(3).unwrap_or_default();
        Self {
            subscription: row.get(1).unwrap_or_default(),
            place: row.get(2).unwrap_or_default(),
            event: event.into(),
            cause: Cause::try_from(row.get::<_, i32>(4).unwrap_or_default()).unwrap_or_default(),
            reason: row.get(5).unwrap_or_default(),
            attempts: row.get(6).unwrap_or_default(),
            first_delivered: time(row.get(7).unwrap_or_default()),
            given_up: time(row.get(8).unwrap_or_default()),
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let letter = NewDeadLetter::read(row);
    let is_sound = row.get::<_, u32>(9).is_ok_and(|crc| crc == letter.checksum());
    Ok(DeadLetter { id: row.get(0)?, letter, is_sound })
}

impl Store {
    /// Keeps one and says its id. Where that are too many, the oldest go.
    pub(in crate::event::journal) fn add_dead_letter(
        &mut self,
        mut letter: NewDeadLetter,
    ) -> rusqlite::Result<u64> {
        let end = (0..=letter.reason.len().min(MAX_REASON_BYTES))
            .rev()
            .find(|at| letter.reason.is_char_boundary(*at));
        letter.reason.truncate(end.unwrap_or(0));
        // As it is read again: the database knows microseconds, and 63 bits.
        letter.place = letter.place.map(|place| place.min(i64::MAX as u64));
        letter.first_delivered = time(micros(letter.first_delivered));
        letter.given_up = time(micros(letter.given_up));
        let id = self.insert_dead_letter(None, &letter, letter.checksum())?;
        while self.ledger.dead_letters > self.limits.dead_letters
            || self.ledger.dead_letter_bytes > self.limits.dead_letter_bytes && self.ledger.dead_letters > 1
        {
            let mut oldest = self.connection.prepare_cached(
                "DELETE FROM dead_letters WHERE id=(SELECT min(id) FROM dead_letters) RETURNING length(event)",
            )?;
            let Some(bytes) = oldest.query_row([], |row| row.get::<_, Option<u64>>(0)).optional()? else {
                break;
            };
            self.ledger.dead_letters -= 1;
            self.ledger.dead_letter_bytes = self.ledger.dead_letter_bytes.saturating_sub(bytes.unwrap_or(0));
            self.ledger.dead_letters_dropped += 1;
        }
        Ok(id)
    }

    /// Writes one as it is, with an id of its own unless it has one.
    pub(super) fn insert_dead_letter(
        &mut self,
        id: Option<u64>,
        letter: &NewDeadLetter,
        crc: u32,
    ) -> rusqlite::Result<u64> {
        let sql =
            format!("INSERT INTO dead_letters({COLUMNS}) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
        self.connection.prepare_cached(&sql)?.execute((
            id,
            &letter.subscription,
            letter.place,
            &letter.event[..],
            letter.cause as i32,
            &letter.reason,
            letter.attempts,
            micros(letter.first_delivered),
            micros(letter.given_up),
            crc,
        ))?;
        self.ledger.dead_letters += 1;
        self.ledger.dead_letter_bytes += letter.event.len() as u64;
        Ok(self.connection.last_insert_rowid().cast_unsigned())
    }

    /// Removes those of `ids` that are there, and says how many that were.
    pub(in crate::event::journal) fn remove_dead_letters(&mut self, ids: &[u64]) -> rusqlite::Result<u64> {
        let mut removed = 0;
        // One that the database cannot hold was never given.
        for id in ids.iter().filter_map(|id| i64::try_from(*id).ok()) {
            let mut remove = self
                .connection
                .prepare_cached("DELETE FROM dead_letters WHERE id=?1 RETURNING length(event)")?;
            if let Some(bytes) = remove.query_row([id], |row| row.get::<_, Option<u64>>(0)).optional()? {
                self.ledger.dead_letters -= 1;
                self.ledger.dead_letter_bytes =
                    self.ledger.dead_letter_bytes.saturating_sub(bytes.unwrap_or(0));
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Those of a subscription, or of all, whose id is above `after`, the oldest first.
    pub(in crate::event::journal) fn dead_letters(
        &self,
        subscription: Option<&str>,
        after: u64,
        most: usize,
    ) -> rusqlite::Result<DeadLetterPage> {
        let condition = if subscription.is_some() { "subscription=?1 AND" } else { "?1 IS NULL AND" };
        let sql = format!("SELECT {COLUMNS} FROM dead_letters WHERE {condition} id > ?2 ORDER BY id");
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query((subscription, after.min(i64::MAX as u64)))?;
        let mut found = DeadLetterPage::up_to(most);
        while let Some(row) = rows.next()? {
            if !found.add(read(row)?) {
                break;
            }
        }
        Ok(found)
    }

    pub(in crate::event::journal) fn dead_letter(&self, id: u64) -> rusqlite::Result<Option<DeadLetter>> {
        let Ok(id) = i64::try_from(id) else { return Ok(None) };
        let sql = format!("SELECT {COLUMNS} FROM dead_letters WHERE id=?1");
        self.connection.prepare_cached(&sql)?.query_row([id], read).optional()
    }
}
