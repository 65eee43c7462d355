//! Loss of power, on a disk that keeps any part of what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::super::os::disk::{Disk, Survivors};
use super::*;

/// Journals for each policy.
const ROUNDS: u64 = 40;

/// Losses of power of one journal.
const OUTAGES: u64 = 3;

async fn on_disk(name: &str, directory: &Path) -> (Journal, &'static Disk) {
    let disk = Disk::register(name);
    let options = JournalOptions { vfs: Some(name.to_owned()), ..options(directory) };
    (Journal::open(options).await.unwrap().0, disk)
}

#[tokio::test]
async fn each_commit_of_a_safe_stream_waits_for_the_disk() {
    let directory = directory();
    let (journal, disk) = on_disk("syncs", directory.path()).await;
    let (safe, fast) = (journal.stream("safe").unwrap(), journal.stream("fast").unwrap());
    for stream in [safe, fast, safe] {
        // What was there before the log began anew is no commit of this.
        journal.append(stream, run([0])).await.unwrap();
        let before = disk.syncs();
        for id in 0..50 {
            journal.append(stream, run([id])).await.unwrap();
        }
        let expected = if stream == safe { 50 } else { 0 };
        assert_eq!(disk.syncs() - before, expected);
    }
    let before = disk.syncs();
    tokio::try_join!(journal.append(fast, run([1])), journal.append(safe, run([2]))).unwrap();
    assert_eq!(disk.syncs() - before, 1, "one that needs it is enough");
}

/// A journal whose power goes again and again.
struct Outages {
    stream: &'static str,
    round: u64,
    /// Losses of power so far.
    count: u64,
    directory: TempDir,
    survivors: Option<Survivors>,
    /// What is at each place that was acknowledged, in all.
    acknowledged: BTreeMap<u64, String>,
}

impl Outages {
    fn new(stream: &'static str, round: u64) -> Self {
        Self {
            stream,
            round,
            count: 0,
            directory: directory(),
            survivors: None,
            acknowledged: BTreeMap::new(),
        }
    }

    /// The journal, as it was found.
    async fn open(&self) -> (Journal, &'static Disk) {
        let name = format!("{}-{}-{}", self.stream, self.round, self.count);
        match &self.survivors {
            None => on_disk(&name, self.directory.path()).await,
            Some(survivors) => {
                let disk = Disk::register_with(&name, survivors, self.directory.path());
                let options = JournalOptions { vfs: Some(name), ..options(self.directory.path()) };
                (Journal::open(options).await.unwrap().0, disk)
            }
        }
    }

    /// Appends from some tasks until the power goes, and leaves a directory as it is found then.
    async fn next(&mut self) {
        let (journal, disk) = self.open().await;
        let journal = Arc::new(journal);
        let id = journal.stream(self.stream).unwrap();
        let seed = 1_000 * self.round + self.count;
        let mut rng = fastrand::Rng::with_seed(seed);
        disk.crash_after(rng.u64(1..3_000), seed);
        let appended = Mutex::new(BTreeMap::new());
        let tasks = (0..4).map(|task| {
            let (journal, mut rng, appended, count) = (journal.clone(), rng.fork(), &appended, self.count);
            async move {
                for step in 0.. {
                    if disk.survivors().is_some() {
                        return;
                    }
                    let size = rng.usize(0..5_000);
                    let ids = (0..rng.usize(1..20)).map(|index| format!("{count}-{task}-{step}-{index}"));
                    let ids: Vec<_> = ids.collect();
                    let done = journal.append(id, run_of(ids.iter().cloned(), size)).await.unwrap();
                    for (place, id) in (done.first_place..).zip(ids) {
                        appended.lock().unwrap().insert(place, id);
                        disk.acknowledge(place);
                    }
                    if rng.u32(0..10) == 0 {
                        let (name, floor) = ("c".to_owned(), done.first_place);
                        let cursor = Cursor { name, floor, state: Bytes::new() };
                        journal.commit(vec![Change::SaveCursor(cursor)]).await.unwrap();
                    }
                }
            }
        });
        futures_util::future::join_all(tasks).await;
        let survivors = disk.survivors().unwrap();
        let mut appended = appended.into_inner().unwrap();
        let acknowledged: BTreeSet<_> = survivors.acknowledged.iter().collect();
        appended.retain(|place, _| acknowledged.contains(place));
        self.acknowledged.append(&mut appended);
        self.directory = directory();
        survivors.restore(self.directory.path());
        self.survivors = Some(survivors);
        self.count += 1;
    }

    /// What is in a copy of the directory as it was found, by place, and the floor of the cursor. Both are sound.
    async fn found(&self) -> (Vec<(u64, String)>, u64) {
        let (round, outage) = (self.round, self.count);
        let copy = directory();
        self.survivors.as_ref().unwrap().restore(copy.path());
        let (journal, opened) = open(copy.path()).await;
        assert_eq!(opened.salvage, None, "round {round}, outage {outage}");
        let read = read_all(&journal, 10_000, 1 << 20).await;
        assert_eq!(read.damaged, [], "round {round}, outage {outage}");
        let found = ids(&read.stored);
        let places = found.iter().map(|(place, _)| *place);
        assert!(places.eq(1..=found.len() as u64), "round {round}, outage {outage}: a gap");
        // And it goes on.
        let next = journal.append(journal.stream(self.stream).unwrap(), run([1])).await.unwrap();
        assert_eq!(next.first_place, found.len() as u64 + 1);
        (found, opened.cursors.first().map_or(0, |cursor| cursor.floor))
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_the_power() {
    let mut acknowledged_in_all = 0;
    for round in 0..ROUNDS {
        let mut outages = Outages::new("safe", round);
        for outage in 1..=OUTAGES {
            outages.next().await;
            let (found, floor) = outages.found().await;
            assert!(floor <= found.len() as u64, "round {round}, outage {outage}: a cursor that is ahead");
            for (place, id) in &outages.acknowledged {
                let kept = found.get(*place as usize - 1).map(|(_, id)| id);
                assert_eq!(kept, Some(id), "round {round}, outage {outage}: place {place}");
            }
        }
        acknowledged_in_all += outages.acknowledged.len();
    }
    assert!(acknowledged_in_all > 10_000, "{acknowledged_in_all}");
}

#[tokio::test]
async fn a_fast_stream_may_lose_its_end_and_is_sound() {
    let mut lost = 0;
    for round in 0..ROUNDS {
        let mut outages = Outages::new("fast", round);
        outages.next().await;
        let (found, _) = outages.found().await;
        let last = outages.acknowledged.last_key_value().map_or(0, |(place, _)| *place);
        lost += u64::from(last > found.len() as u64);
    }
    assert!(lost > 0, "the disk loses nothing, so the other test shows nothing");
}
