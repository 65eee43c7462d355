//! Recording events.

use bytes::{Bytes, BytesMut};

use super::{First, Store};
use crate::event::journal::clock::Micros;
use crate::event::journal::row::{Sums, checksum};
use crate::event::run::Run;

/// Runs of one stream that wait together become one row up to this size: a row costs some microseconds, whatever its size. More
/// would only mean that damage takes more events along.
const MERGED_BYTES: usize = 32 << 10;

/// Writes the runs of one transaction. Runs of the same stream that follow each other share a row.
#[derive(Debug)]
pub(in crate::event::journal) struct Appender {
    recorded: Micros,
    row: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    stream: usize,
    place: u64,
    count: u32,
    bytes: Content,
}

/// A run that is alone is not copied.
#[derive(Debug)]
enum Content {
    One(Bytes),
    Many(BytesMut),
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes,
        }
    }

    fn add(&mut self, more: &[u8]) {
        if let Self::One(bytes) = self {
            let mut many = BytesMut::with_capacity((2 * (bytes.len() + more.len())).min(MERGED_BYTES));
            many.extend_from_slice(bytes);
            *self = Self::Many(many);
        }
        if let Self::Many(bytes) = self {
            bytes.extend_from_slice(more);
        }
    }
}

impl Appender {
    /// For a transaction that has begun.
    pub(in crate::event::journal) fn new(store: &mut Store) -> Self {
        Self { recorded: store.clock.stamp(store.ledger.next_place), row: None }
    }

    /// When all of it counts as recorded.
    pub(in crate::event::journal) fn recorded(&self) -> Micros {
        self.recorded
    }

    /// Adds a run, and says the place of its first event. It is in the database after [`finish`](Self::finish).
    pub(in crate::event::journal) fn push(
        &mut self,
        store: &mut Store,
        stream: usize,
        run: &Run,
    ) -> rusqlite::Result<u64> {
        let place = store.ledger.next_place;
        match &mut self.row {
            Some(row)
                if row.stream == stream && row.bytes.bytes().len() + run.bytes().len() <= MERGED_BYTES =>
            {
                row.bytes.add(run.bytes());
                row.count += run.count() as u32;
            }
            _ => {
                self.finish(store)?;
                let bytes = Content::One(run.bytes().clone());
                self.row = Some(Pending { stream, place, count: run.count() as u32, bytes });
            }
        }
        store.ledger.next_place += run.count() as u64;
        Ok(place)
    }

    /// Writes what is left.
    pub(in crate::event::journal) fn finish(&mut self, store: &mut Store) -> rusqlite::Result<()> {
        match self.row.take() {
            Some(row) => store.insert(row.stream, row.place, row.count, self.recorded, row.bytes.bytes()),
            None => Ok(()),
        }
    }
}

impl Store {
    /// Adds a row to a stream.
    pub(super) fn insert(
        &mut self,
        stream: usize,
        place: u64,
        count: u32,
        recorded: Micros,
        bytes: &[u8],
    ) -> rusqlite::Result<()> {
        let (known, extent) = (&self.streams[stream], &mut self.ledger.streams[stream]);
        let before = extent.end;
        let crc = checksum(known.id, place, count, recorded, before, bytes);
        let mut insert = self.connection.prepare_cached(&known.insert)?;
        insert.execute((place, count, recorded, before.events, before.bytes, crc, bytes))?;
        extent.first.get_or_insert(First { place, recorded, before });
        extent.end =
            Sums { events: before.events + u64::from(count), bytes: before.bytes + bytes.len() as u64 };
        Ok(())
    }
}
