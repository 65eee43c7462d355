use super::*;
use crate::config::JournalConfig;
use crate::event::journal::options::{Fsync, StreamConfig};

/// What stands before the first page of a log, and before each.
const LOG_HEAD: usize = 32;
const PAGE_HEAD: usize = 24;

#[test]
fn a_journal_that_was_half_made_when_the_host_was_killed_is_made_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut options = JournalOptions::new(&JournalConfig::new(path("new.db")));
    options.streams = vec![StreamConfig::new("safe", Fsync::Batch), StreamConfig::new("fast", Fsync::Os)];
    drop(Store::open_at(&options, &path("new.db"), None).unwrap());
    // All of it is in the log still, in the order in which it was written.
    let log = std::fs::read(path("new.db-wal")).unwrap();
    let pages = (log.len() - LOG_HEAD) / (PAGE_HEAD + PAGE_BYTES);
    assert!(pages > 10, "{pages} pages");
    for pages in 0..=pages {
        let cut = format!("cut-{pages}.db");
        std::fs::copy(path("new.db"), path(&cut)).unwrap();
        std::fs::write(path(&format!("{cut}-wal")), &log[..LOG_HEAD + pages * (PAGE_HEAD + PAGE_BYTES)])
            .unwrap();
        let opened = Store::open_at(&options, &path(&cut), None);
        let (store, _) = opened.unwrap_or_else(|error| panic!("after {pages} pages: {error}"));
        assert_eq!(store.streams.len(), 2);
    }
}
