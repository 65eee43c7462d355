//! Rows that are not what was recorded.

use super::Store;
use super::read::Bad;
use crate::event::journal::options::Fsync;
use crate::event::journal::row::Damaged;

impl Store {
    /// Moves a row out of its stream to where nobody reads it and nothing deletes it.
    pub(super) fn put_aside(&mut self, bad: Bad) -> rusqlite::Result<Damaged> {
        let damaged = self.describe(bad);
        tracing::error!(
            place = damaged.first_place,
            count = damaged.count,
            stream = damaged.stream,
            path = %damaged.path.display(),
            "events in the journal are damaged; they are kept in its table 'damaged' and delivered to nobody"
        );
        self.begin(Fsync::Os)?;
        let result = self.move_row(bad).and_then(|()| self.commit());
        if result.is_err() {
            self.roll_back();
        }
        result.map(|()| damaged)
    }

    pub(super) fn describe(&self, bad: Bad) -> Damaged {
        let stream = self.streams[bad.stream].config.name.clone();
        let path = self.connection.path().unwrap_or_default().into();
        Damaged { first_place: bad.place, count: bad.count, stream, path }
    }

    fn move_row(&mut self, bad: Bad) -> rusqlite::Result<()> {
        let stream = &self.streams[bad.stream];
        self.connection.execute(
            &format!(
                "INSERT INTO damaged SELECT ?1, place, count, recorded, events_before, bytes_before, crc, events, ?2
                 FROM stream_{} WHERE place=?3",
                stream.id
            ),
            (&stream.config.name, self.clock.wall(), bad.place.cast_signed()),
        )?;
        let delete = format!("DELETE FROM stream_{} WHERE place=?1", stream.id);
        self.connection.execute(&delete, [bad.place.cast_signed()])?;
        self.save_next_place()?;
        self.ledger.damaged_rows += 1;
        self.find_first(bad.stream)
    }
}
