//! Reading events, in the order of their places, over all streams.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use rusqlite::Rows;

use super::Store;
use crate::event::journal::clock::Micros;
use crate::event::journal::error::is_damage;
use crate::event::journal::row::{Content, Damaged, Row, recorded};
use crate::event::run;

/// Events that were recorded together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Of the first event; the others follow it without a gap.
    pub(crate) first_place: u64,
    /// How many events.
    pub(crate) count: u32,
    /// When they were recorded. Later events have no earlier time.
    pub(crate) recorded: SystemTime,
    /// Name of the stream.
    pub(crate) stream: Arc<str>,
    /// The events with their tags and lengths.
    pub(crate) bytes: Bytes,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The events.
    pub(crate) stored: Vec<Stored>,
    /// What could not be read, and was put aside: places and counts.
    pub(crate) damaged: Vec<Damaged>,
    /// Streams that have lost events after where reading began, because enough were kept: name, and the last place that is gone.
    pub(crate) removed: Vec<(Arc<str>, u64)>,
    /// All up to this place was read: go on after it.
    pub(crate) through: u64,
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(in crate::event::journal) enum Wanted {
    /// What follows a place.
    After(u64),
    /// What is before a place: the newest first, in whole rows.
    Before(u64),
}

/// The next row of a stream.
struct Head<'a> {
    stream: usize,
    rows: Rows<'a>,
    place: u64,
}

/// A row that is not sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bad {
    pub(super) stream: usize,
    pub(super) place: u64,
    pub(super) count: u32,
}

impl Store {
    /// Reads up to both bounds; one event is more than `max_bytes` if it is alone.
    pub(in crate::event::journal) fn read(
        &mut self,
        wanted: Wanted,
        max_events: u32,
        max_bytes: usize,
    ) -> rusqlite::Result<Read> {
        let mut read = Read::default();
        if let Wanted::After(place) = wanted {
            let streams = self.streams.iter().zip(&self.ledger.streams);
            let behind = streams.filter(|(_, extent)| extent.removed > place);
            read.removed = behind.map(|(stream, extent)| (stream.name.clone(), extent.removed)).collect();
        }
        let bad = self.merge(wanted, max_events.max(1), max_bytes, &mut read)?;
        for bad in bad {
            let damaged = self.describe(bad);
            match self.put_aside(bad) {
                // Where it is, it is found again.
                Err(error) if is_damage(&error) => return Err(error),
                Err(error) => tracing::warn!(place = bad.place, %error, "damaged events cannot be put aside"),
                Ok(_) => {}
            }
            read.damaged.push(damaged);
        }
        Ok(read)
    }

    fn merge(
        &self,
        wanted: Wanted,
        max_events: u32,
        max_bytes: usize,
        read: &mut Read,
    ) -> rusqlite::Result<Vec<Bad>> {
        let mut statements = Vec::with_capacity(self.streams.len());
        for stream in &self.streams {
            let (sql, from) = match wanted {
                Wanted::After(place) => {
                    let mut seek = self.connection.prepare_cached(&stream.seek)?;
                    let next = place.saturating_add(1).min(i64::MAX as u64);
                    let row: Option<u64> = seek.query_row([next], |row| row.get(0))?;
                    (&stream.from, row.unwrap_or(next))
                }
                Wanted::Before(place) => (&stream.before, place.min(i64::MAX as u64)),
            };
            statements.push((self.connection.prepare_cached(sql)?, from));
        }
        let mut heads = Vec::with_capacity(statements.len());
        for (stream, (statement, from)) in statements.iter_mut().enumerate() {
            let rows = statement.query([*from])?;
            heads.extend(Head { stream, rows, place: 0 }.advanced()?);
        }
        let is_newest_first = matches!(wanted, Wanted::Before(_));
        let (mut events, mut bytes, mut bad) = (0, 0, Vec::new());
        read.through = match wanted {
            Wanted::After(place) | Wanted::Before(place) => place,
        };
        while events < max_events && bytes < max_bytes {
            let next = heads.iter().enumerate();
            let next = match is_newest_first {
                true => next.max_by_key(|(_, head)| head.place),
                false => next.min_by_key(|(_, head)| head.place),
            };
            let Some((index, _)) = next else {
                read.through = if is_newest_first { 0 } else { read.through.max(self.ledger.next_place - 1) };
                break;
            };
            let head = heads.swap_remove(index);
            let (stream, id) = (head.stream, self.streams[head.stream].id);
            let Some(row) = head.rows_get() else { continue };
            match Row::read(row, id)? {
                Content::Sound(row) => {
                    let room = (max_events - events, max_bytes - bytes);
                    match self.take(wanted, stream, row, room, read.stored.is_empty(), read) {
                        Taken::Nothing => {}
                        Taken::All { count, length } => (events, bytes) = (events + count, bytes + length),
                        Taken::Full => break,
                    }
                }
                Content::Damaged { place, count } => bad.push(Bad { stream, place, count }),
            }
            heads.extend(head.advanced()?);
            if let Some(bad) = bad.last_mut().filter(|bad| bad.place > read.through && !is_newest_first) {
                // What it says of itself may be wrong; the next row begins where it begins.
                let next = heads.iter().map(|head| head.place).min().unwrap_or(self.ledger.next_place);
                bad.count =
                    bad.count.min(u32::try_from(next.saturating_sub(bad.place)).unwrap_or(u32::MAX)).max(1);
                read.through = bad.place + u64::from(bad.count) - 1;
            }
        }
        Ok(bad)
    }

    fn take(
        &self,
        wanted: Wanted,
        stream: usize,
        row: Row,
        (most_events, most_bytes): (u32, usize),
        is_first: bool,
        read: &mut Read,
    ) -> Taken {
        let end = row.place + u64::from(row.count);
        let stored = |first_place, count, bytes| Stored {
            first_place,
            count,
            recorded: recorded(row.recorded),
            stream: self.streams[stream].name.clone(),
            bytes,
        };
        let after = match wanted {
            Wanted::Before(_) => {
                read.through = row.place;
                let (count, length) = (row.count, row.bytes.len());
                read.stored.push(stored(row.place, count, row.bytes));
                return Taken::All { count, length };
            }
            Wanted::After(after) if end <= after + 1 => return Taken::Nothing,
            Wanted::After(after) => after,
        };
        let skip = u32::try_from((after + 1).saturating_sub(row.place)).unwrap_or(u32::MAX);
        let (bytes, count) = if skip == 0 && row.count <= most_events && row.bytes.len() <= most_bytes {
            (row.bytes, row.count)
        } else {
            run::part(&row.bytes, skip, most_events, most_bytes, is_first)
        };
        if count == 0 {
            return Taken::Full;
        }
        let first_place = row.place + u64::from(skip);
        read.through = first_place + u64::from(count) - 1;
        let (is_all, length) = (read.through + 1 == end, bytes.len());
        read.stored.push(stored(first_place, count, bytes));
        if is_all { Taken::All { count, length } } else { Taken::Full }
    }

    /// Place of the first event that was recorded then or later; that of the next one when there is none.
    pub(in crate::event::journal) fn first_at_or_after(&self, time: Micros) -> rusqlite::Result<u64> {
        let mut first = self.ledger.next_place;
        for (stream, extent) in self.streams.iter().zip(&self.ledger.streams) {
            let Some(oldest) = extent.first else { continue };
            let sql = format!(
                "SELECT place, recorded FROM stream_{} WHERE place >= ?1 ORDER BY place LIMIT 1",
                stream.id
            );
            let mut seek = self.connection.prepare_cached(&sql)?;
            // All rows that begin before `low` are too early; some row at or after `high`, if there is one, is not.
            let (mut low, mut high) = (oldest.place, self.ledger.next_place);
            while low < high {
                let middle = low + (high - low) / 2;
                let mut rows = seek.query([middle])?;
                match rows.next()? {
                    Some(row) if row.get::<_, u64>(1)? < time => low = row.get::<_, u64>(0)? + 1,
                    Some(_) | None => high = middle,
                }
            }
            let mut rows = seek.query([low])?;
            if let Some(row) = rows.next()? {
                first = first.min(row.get(0)?);
            }
        }
        Ok(first)
    }
}

enum Taken {
    Nothing,
    All { count: u32, length: usize },
    Full,
}

impl Head<'_> {
    /// At the next row of its stream, if there is one.
    fn advanced(mut self) -> rusqlite::Result<Option<Self>> {
        match self.rows.next()? {
            Some(row) => {
                self.place = row.get(0)?;
                Ok(Some(self))
            }
            None => Ok(None),
        }
    }

    fn rows_get(&self) -> Option<&rusqlite::Row<'_>> {
        rusqlite::fallible_streaming_iterator::FallibleStreamingIterator::get(&self.rows)
    }
}
