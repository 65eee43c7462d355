//! Deleting what is no longer to be kept, a little at a time.

use super::{Extent, First, Store};
use crate::event::journal::options::Fsync;

/// Rows that a step deletes at most: as many as a commit records at most.
const STEP_ROWS: u32 = 1024;

/// Bytes that a step deletes about at most: twice what a commit records at most, so that deleting keeps up, and some milliseconds
/// of work, which is what an append waits for it.
const STEP_BYTES: u64 = 2 * crate::event::journal::writer::MAX_BATCH_BYTES as u64;

/// A share of a limit by which a stream may exceed it before anything is deleted, so that not every commit deletes a row.
const SLACK: u64 = 64;

impl Store {
    /// Whether some stream holds so much too much that it is time for a step.
    pub(in crate::event::journal) fn exceeds_limits(&self) -> bool {
        let mut streams = self.streams.iter().zip(&self.ledger.streams);
        streams.any(|(stream, extent)| {
            let (config, held) = (&stream.config, extent.held());
            let exceeds = |held: u64, limit: Option<u64>| {
                limit.is_some_and(|limit| held > limit.saturating_add(limit / SLACK))
            };
            exceeds(held.bytes, config.max_bytes) || exceeds(held.events, config.max_events)
        })
    }

    /// Deletes the oldest rows of the streams that hold too much or too old ones, up to a bound, and says whether there may be more.
    pub(in crate::event::journal) fn retain(&mut self) -> rusqlite::Result<bool> {
        let mut more = false;
        for index in 0..self.streams.len() {
            let Some(cut) = self.cut(index)? else { continue };
            // If power is lost, they are deleted again.
            self.begin(Fsync::Os)?;
            let result = self.delete_through(index, cut.through).and_then(|()| self.commit());
            if let Err(error) = result {
                self.roll_back();
                return Err(error);
            }
            more |= cut.more;
        }
        Ok(more)
    }

    /// Up to where the rows of a stream have to go now.
    fn cut(&self, index: usize) -> rusqlite::Result<Option<Cut>> {
        let (stream, extent) = (&self.streams[index], self.ledger.streams[index]);
        let Some(first) = extent.first else { return Ok(None) };
        if !self.is_too_much(index, extent, first) {
            return Ok(None);
        }
        let sql = format!(
            "SELECT place, recorded, events_before, bytes_before FROM stream_{} WHERE place >= ?1 ORDER BY place",
            stream.id
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query([first.place])?;
        let mut cut = None;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let row = read_first(row)?;
            let is_done = !self.is_too_much(index, extent, row);
            let is_enough =
                count == STEP_ROWS || row.before.bytes.saturating_sub(first.before.bytes) >= STEP_BYTES;
            // One at least: a single row may be larger than a step.
            if is_done || is_enough && count > 0 {
                return Ok(cut.map(|through| Cut { through, more: !is_done }));
            }
            cut = Some(row.place);
            count += 1;
        }
        Ok(cut.map(|through| Cut { through, more: false }))
    }

    /// Whether a stream that begins with this row still holds too much.
    fn is_too_much(&self, index: usize, extent: Extent, first: First) -> bool {
        let config = &self.streams[index].config;
        let held = Extent { first: Some(first), ..extent }.held();
        config.max_bytes.is_some_and(|most| held.bytes > most)
            || config.max_events.is_some_and(|most| held.events > most)
            || config.max_age.is_some_and(|most| self.clock.age(first.place, first.recorded) > most)
    }

    fn delete_through(&mut self, index: usize, place: u64) -> rusqlite::Result<()> {
        let sql = format!("DELETE FROM stream_{} WHERE place <= ?1", self.streams[index].id);
        self.connection.prepare_cached(&sql)?.execute([place])?;
        self.save_next_place()?;
        self.find_first(index)?;
        // The row at `place` may have held more than one event.
        let first = self.ledger.streams[index].first.map_or(self.ledger.next_place, |first| first.place);
        let mut save = self.connection.prepare_cached("UPDATE streams SET removed=?2 WHERE id=?1")?;
        save.execute((self.streams[index].id, first - 1))?;
        self.ledger.streams[index].removed = first - 1;
        Ok(())
    }

    /// Remembers the next place where the newest row may be gone: a place is never given twice.
    pub(super) fn save_next_place(&self) -> rusqlite::Result<()> {
        let mut save = self.connection.prepare_cached("UPDATE meta SET value=?1 WHERE key='next_place'")?;
        save.execute([self.ledger.next_place])?;
        Ok(())
    }

    /// Looks up where a stream begins.
    pub(super) fn find_first(&mut self, index: usize) -> rusqlite::Result<()> {
        let sql = format!(
            "SELECT place, recorded, events_before, bytes_before FROM stream_{} ORDER BY place LIMIT 1",
            self.streams[index].id
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query([])?;
        self.ledger.streams[index].first = rows.next()?.map(read_first).transpose()?;
        Ok(())
    }
}

struct Cut {
    through: u64,
    more: bool,
}

fn read_first(row: &rusqlite::Row<'_>) -> rusqlite::Result<First> {
    let before = super::Sums { events: row.get(2)?, bytes: row.get(3)? };
    Ok(First { place: row.get(0)?, recorded: row.get(1)?, before })
}
