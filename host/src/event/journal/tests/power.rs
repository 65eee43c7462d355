//! Loss of power, on a disk that keeps any part of what was not synced.

use std::sync::Arc;

use super::super::os::disk::Disk;
use super::*;

/// Losses of power for each policy.
const ROUNDS: u64 = 60;

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
    journal.append_all(vec![(fast, run([1])), (safe, run([2]))]).await.unwrap();
    assert_eq!(disk.syncs() - before, 1, "one that needs it is enough");
}

/// Appends from some tasks until the power goes, and answers what is there when it is back.
async fn append_until_crash(stream: &str, round: u64) -> (TempDir, Vec<u64>) {
    let memory = directory();
    let (journal, disk) = on_disk(&format!("{stream}-{round}"), memory.path()).await;
    let journal = Arc::new(journal);
    let id = journal.stream(stream).unwrap();
    let mut rng = fastrand::Rng::with_seed(round);
    disk.crash_after(rng.u64(1..3_000), round);
    let tasks = (0..4).map(|_| {
        let (journal, mut rng) = (journal.clone(), rng.fork());
        async move {
            while disk.survivors().is_none() {
                // Ids are not places here: tasks do not know theirs before.
                let size = rng.usize(0..5_000);
                let count = rng.usize(1..20);
                let appended =
                    journal.append(id, run_of((0..count).map(|id| id.to_string()), size)).await.unwrap();
                (appended.first_place..).take(count).for_each(|place| disk.acknowledge(place));
                if rng.u32(0..10) == 0 {
                    let cursor =
                        Cursor { name: "c".to_owned(), floor: appended.first_place, state: Bytes::new() };
                    journal.commit(vec![Change::SaveCursor(cursor)]).await.unwrap();
                }
            }
        }
    });
    futures_util::future::join_all(tasks).await;
    let survivors = disk.survivors().unwrap();
    let found = directory();
    survivors.restore(found.path());
    (found, survivors.acknowledged)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_the_power() {
    let mut acknowledged_in_all = 0;
    for round in 0..ROUNDS {
        let (found, acknowledged) = append_until_crash("safe", round).await;
        let (journal, opened) = open(found.path()).await;
        assert_eq!(opened.salvage, None, "round {round}");
        let read = read_all(&journal, 10_000, 1 << 20).await;
        assert_eq!(read.damaged, [], "round {round}");
        let places: Vec<_> = ids(&read.stored).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, (1..=places.len() as u64).collect::<Vec<_>>(), "round {round}: a gap");
        let last = acknowledged.iter().copied().max().unwrap_or(0);
        assert!(last <= places.len() as u64, "round {round}: {last} of {} is lost", places.len());
        let floor = opened.cursors.first().map_or(0, |cursor| cursor.floor);
        assert!(floor <= places.len() as u64, "round {round}: a cursor that is ahead");
        acknowledged_in_all += acknowledged.len();
        // And it goes on.
        let next = journal.append(journal.stream("safe").unwrap(), run([1])).await.unwrap();
        assert_eq!(next.first_place, places.len() as u64 + 1);
    }
    assert!(acknowledged_in_all > 1_000, "{acknowledged_in_all}");
}

#[tokio::test]
async fn a_fast_stream_may_lose_its_end_and_is_sound() {
    let mut lost = 0;
    for round in 0..ROUNDS {
        let (found, acknowledged) = append_until_crash("fast", round).await;
        let (journal, opened) = open(found.path()).await;
        assert_eq!(opened.salvage, None, "round {round}");
        let read = read_all(&journal, 10_000, 1 << 20).await;
        assert_eq!(read.damaged, [], "round {round}");
        let places: Vec<_> = ids(&read.stored).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, (1..=places.len() as u64).collect::<Vec<_>>(), "round {round}: a gap");
        lost += u64::from(acknowledged.iter().max().is_some_and(|last| *last > places.len() as u64));
    }
    assert!(lost > 0, "the disk loses nothing, so the other test shows nothing");
}
