//! A row of a stream: events that were recorded together, and the checksum that tells whether they are still the same.

use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;
use rusqlite::Row as SqlRow;

use super::clock::Micros;
use super::error::is_odd_value;

/// The columns of a row, as [`Row::read`] takes them.
pub(super) const COLUMNS: &str = "place, count, recorded, events_before, bytes_before, crc, events";

/// Events that lie side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Of the first event.
    pub(super) place: u64,
    /// How many events.
    pub(super) count: u32,
    pub(super) recorded: Micros,
    /// Events and bytes that the stream was given before, so that the difference of two rows tells what lies between.
    pub(super) before: Sums,
    /// The events.
    pub(super) bytes: Bytes,
}

/// What a stream was given since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// Events that are not what was recorded. They are kept aside in the journal, and read no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// Of the first event.
    pub(crate) first_place: u64,
    /// How many events there were, as far as that can be told.
    pub(crate) count: u32,
    /// Name of the stream.
    pub(crate) stream: String,
    /// The journal that holds them.
    pub(crate) path: PathBuf,
}

/// When something was recorded, as others see it.
pub(super) fn recorded(micros: Micros) -> SystemTime {
    super::clock::time(micros)
}

/// What a row holds.
#[derive(Debug)]
pub(super) enum Content {
    Sound(Row),
    /// Only the place can be told.
    Damaged {
        place: u64,
        count: u32,
    },
}

impl Row {
    /// Reads the columns of [`COLUMNS`] of the stream with this id in the database.
    ///
    /// # Errors
    /// The database cannot be read; a damaged row is none.
    pub(super) fn read(sql: &SqlRow<'_>, stream: i64) -> rusqlite::Result<Content> {
        let place = sql.get(0)?;
        match Self::columns(sql, stream) {
            Ok(Some(row)) => Ok(Content::Sound(row)),
            Ok(None) => Ok(Content::Damaged { place, count: sql.get(1).unwrap_or(1).max(1) }),
            Err(error) if is_odd_value(&error) => {
                Ok(Content::Damaged { place, count: sql.get(1).unwrap_or(1).max(1) })
            }
            Err(error) => Err(error),
        }
    }

    fn columns(sql: &SqlRow<'_>, stream: i64) -> rusqlite::Result<Option<Self>> {
        let before = Sums { events: sql.get(3)?, bytes: sql.get(4)? };
        let crc: u32 = sql.get(5)?;
        let bytes = match sql.get_ref(6)? {
            rusqlite::types::ValueRef::Blob(bytes) => bytes,
            _ => return Ok(None),
        };
        let (place, count, recorded) = (sql.get(0)?, sql.get(1)?, sql.get(2)?);
        let is_sound = crc == checksum(stream, place, count, recorded, before, bytes);
        Ok(is_sound.then(|| Self { place, count, recorded, before, bytes: Bytes::copy_from_slice(bytes) }))
    }
}

/// CRC-32C of all that a row says.
pub(super) fn checksum(
    stream: i64,
    place: u64,
    count: u32,
    recorded: Micros,
    before: Sums,
    bytes: &[u8],
) -> u32 {
    let mut head = [0; 44];
    let words = [stream.to_le_bytes(), place.to_le_bytes(), recorded.to_le_bytes()];
    let words = words.into_iter().chain([before.events.to_le_bytes(), before.bytes.to_le_bytes()]);
    for (to, word) in head.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word);
    }
    head[40..].copy_from_slice(&count.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), bytes)
}

/// CRC-32C of some values that belong together.
pub(super) fn checksum_of(parts: &[&[u8]]) -> u32 {
    // With its length each, so that nothing moves from one to the next unseen.
    parts.iter().fold(0, |crc, part| {
        crc32c::crc32c_append(crc32c::crc32c_append(crc, &(part.len() as u64).to_le_bytes()), part)
    })
}
