mod basics;
mod damage;
mod full;
mod kill;
mod power;
mod retention;
mod speed;

use std::path::Path;

use bytes::Bytes;
use plugmesh::cloudevents::Event;
use tempfile::TempDir;

use super::*;
use crate::config::JournalConfig;

fn options(directory: &Path) -> JournalOptions {
    let mut options = JournalOptions::new(&JournalConfig::new(directory.join("journal.db")));
    options.streams = vec![StreamConfig::new("safe", Fsync::Batch), StreamConfig::new("fast", Fsync::Os)];
    options
}

impl Journal {
    /// Records events and waits until that is done.
    async fn append(&self, stream: StreamId, run: Run) -> Result<Appended, JournalError> {
        self.begin_append(stream, run).await?.await
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn open(directory: &Path) -> (Journal, Opened) {
    Journal::open(options(directory)).await.unwrap()
}

/// Events with these ids and so many bytes of data.
fn run_of(ids: impl IntoIterator<Item = String>, bytes: usize) -> Run {
    let mut run = Vec::new();
    for id in ids {
        let event = Event::builder("orders.placed", "/shop").id(&id).data(vec![b'x'; bytes]).build().unwrap();
        run.push(0x0a);
        prost::encoding::encode_varint(event.bytes().len() as u64, &mut run);
        run.extend_from_slice(event.bytes());
    }
    Run::scan(run.into()).unwrap()
}

fn run(ids: impl IntoIterator<Item = u64>) -> Run {
    run_of(ids.into_iter().map(|id| id.to_string()), 40)
}

/// Ids of the events, with their places.
fn ids(stored: &[Stored]) -> Vec<(u64, String)> {
    let of_one = |stored: &Stored| {
        let ids: Vec<_> = events(&stored.bytes)
            .map(|event| EventRef::check(&stored.bytes[event]).unwrap().id().to_owned())
            .collect();
        assert_eq!(ids.len(), stored.count as usize);
        (stored.first_place..).zip(ids).collect::<Vec<_>>()
    };
    stored.iter().flat_map(of_one).collect()
}

/// Reads all in steps of these bounds.
async fn read_all(journal: &Journal, max_events: u32, max_bytes: usize) -> Read {
    let mut all = Read::default();
    loop {
        let read = journal.read(all.through, max_events, max_bytes).await.unwrap();
        assert!(read.stored.iter().map(|stored| stored.count).sum::<u32>() <= max_events);
        let is_end = read.stored.is_empty() && read.damaged.is_empty();
        all.stored.extend(read.stored);
        all.damaged.extend(read.damaged);
        all.through = read.through;
        if is_end {
            return all;
        }
    }
}

/// Places and ids when the id of each event is its place.
fn placed(places: impl IntoIterator<Item = u64>) -> Vec<(u64, String)> {
    places.into_iter().map(|place| (place, place.to_string())).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
}

/// Where `needle` begins in a file.
fn find(path: &Path, needle: &[u8]) -> usize {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(needle.len()).position(|window| window == needle).unwrap()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Waits until so many events are left at most; each look gives the journal a turn to delete.
async fn await_at_most(journal: &Journal, events: u64) {
    let look = async { while journal.stats().await.unwrap().events > events {} };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), look).await;
    assert!(waited.is_ok(), "{:?} instead of {events} events", journal.stats().await);
}
