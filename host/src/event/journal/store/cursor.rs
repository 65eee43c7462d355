//! How far durable subscriptions have come.

use bytes::Bytes;
use rusqlite::Row;

use super::Store;
use crate::event::journal::error::is_odd_value;
use crate::event::journal::row::checksum_of;

/// The progress of a durable subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Of the subscription.
    pub(crate) name: String,
    /// It has done with all up to this place.
    pub(crate) floor: u64,
    /// What else it has to remember; it means nothing here.
    pub(crate) state: Bytes,
}

impl Cursor {
    /// Reads name, floor, state and checksum, the name in column `at`. Inside: the name of one that is not what was saved.
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Result<Self, String>> {
        let columns = || {
            let state: Vec<u8> = row.get(at + 2)?;
            Ok((
                Self { name: row.get(at)?, floor: row.get(at + 1)?, state: state.into() },
                row.get::<_, u32>(at + 3)?,
            ))
        };
        match columns() {
            Ok((cursor, crc)) if cursor.checksum() == crc => Ok(Ok(cursor)),
            Ok((cursor, _)) => Ok(Err(cursor.name)),
            Err(error) if is_odd_value(&error) => Ok(Err(row.get(at).unwrap_or_default())),
            Err(error) => Err(error),
        }
    }

    fn checksum(&self) -> u32 {
        checksum_of(&[self.name.as_bytes(), &self.floor.to_le_bytes(), &self.state])
    }
}

impl Store {
    pub(in crate::event::journal) fn save_cursor(&mut self, cursor: &Cursor) -> rusqlite::Result<()> {
        // More the database cannot hold.
        let cursor = Cursor { floor: cursor.floor.min(i64::MAX as u64), ..cursor.clone() };
        let mut save = self.connection.prepare_cached(
            "INSERT INTO cursors(name, floor, state, crc) VALUES(?1, ?2, ?3, ?4)
             ON CONFLICT(name) DO UPDATE SET floor=?2, state=?3, crc=?4",
        )?;
        save.execute((&cursor.name, cursor.floor, &cursor.state[..], cursor.checksum()))?;
        Ok(())
    }

    pub(in crate::event::journal) fn remove_cursor(&mut self, name: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM cursors WHERE name=?1")?.execute([name])?;
        Ok(())
    }

    /// All of them, and the names of those that are not what was saved.
    pub(super) fn cursors(&self) -> rusqlite::Result<(Vec<Cursor>, Vec<String>)> {
        let (mut sound, mut damaged) = (Vec::new(), Vec::new());
        let mut select =
            self.connection.prepare_cached("SELECT name, floor, state, crc FROM cursors ORDER BY name")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            match Cursor::read(row, 0)? {
                Ok(cursor) => sound.push(cursor),
                Err(name) => damaged.push(name),
            }
        }
        Ok((sound, damaged))
    }
}
