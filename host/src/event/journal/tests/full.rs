//! No room: by its own limit, on a disk in memory, and on a real one.

use super::super::os::disk::Disk;
use super::kill::{child, is_child};
use super::*;

/// Appends runs of about 3 KiB, the ids of whose events are their places, until it fails.
async fn fill(journal: &Journal, stream: StreamId) -> JournalError {
    loop {
        let next = journal.last_place() + 1;
        match journal.append(stream, run_of((next..next + 10).map(|id| id.to_string()), 300)).await {
            Ok(appended) => assert_eq!(appended.first_place, next),
            Err(error) => return error,
        }
    }
}

async fn assert_all_there(journal: &Journal) {
    let read = read_all(journal, 1_000, 1 << 20).await;
    assert_eq!(ids(&read.stored), placed(1..=journal.last_place()));
    assert_eq!(read.damaged, []);
}

#[tokio::test]
async fn the_limit_of_bytes_refuses_and_retention_makes_room() {
    let directory = directory();
    let mut limited = JournalOptions { max_bytes_total: 1 << 20, ..options(directory.path()) };
    let (journal, _) = Journal::open(limited.clone()).await.unwrap();
    let safe = journal.stream("safe").unwrap();
    // What is small fits where something large does not, whatever it waited with.
    let large = journal.append(safe, run_of(["l".to_owned()], 2 << 20));
    let (large, small) = futures_util::future::join(large, journal.append(safe, run([1]))).await;
    assert!(matches!(large, Err(JournalError::LimitReached { .. })));
    assert_eq!(small.unwrap().first_place, 1);
    let error = fill(&journal, safe).await;
    assert!(matches!(error, JournalError::LimitReached { max_bytes, .. } if max_bytes == 1 << 20), "{error}");
    assert!(error.to_string().contains("journal.db has reached its 1048576 bytes"), "{error}");
    let problem = journal.stats().await.unwrap().problem;
    assert_eq!(problem, Some(error.to_string()));
    // Progress is saved all the same.
    let cursor = Cursor { name: "c".to_owned(), floor: 3, state: vec![0; 10_000].into() };
    journal.commit(vec![Change::SaveCursor(cursor)]).await.unwrap();
    assert_all_there(&journal).await;
    journal.close().await;
    let length = std::fs::metadata(directory.path().join("journal.db")).unwrap().len();
    assert!(length < (1 << 20) + 40_000, "{length}");

    limited.streams[0].max_events = Some(100);
    let (journal, _) = Journal::open(limited).await.unwrap();
    let (safe, last) = (journal.stream("safe").unwrap(), journal.last_place());
    await_at_most(&journal, 100).await;
    let appended = journal.append(safe, run([last + 1])).await.unwrap();
    assert_eq!(appended.first_place, last + 1);
    assert_eq!(journal.stats().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_space() {
    let directory = directory();
    let disk = Disk::register("full");
    let options = JournalOptions { vfs: Some("full".to_owned()), ..options(directory.path()) };
    let (journal, _) = Journal::open(options).await.unwrap();
    let (safe, fast) = (journal.stream("safe").unwrap(), journal.stream("fast").unwrap());
    let mut rng = fastrand::Rng::with_seed(1);
    for stream in [safe, fast, safe, fast] {
        // It gets full at another point each time: within the log, and while the log is written into the database.
        disk.set_capacity(Some(disk.used() + rng.usize(0..20_000_000)));
        let error = fill(&journal, stream).await;
        assert!(matches!(error, JournalError::Full { .. }), "{error}");
        assert!(error.to_string().contains("journal.db is full; make room"), "{error}");
        assert_eq!(journal.stats().await.unwrap().problem, Some(error.to_string()));
        assert_all_there(&journal).await;
        disk.set_capacity(None);
        let next = journal.last_place() + 1;
        assert_eq!(journal.append(stream, run([next])).await.unwrap().first_place, next);
        assert_eq!(journal.stats().await.unwrap().problem, None);
    }
    assert_all_there(&journal).await;
}

/// A small file system of its own, which takes a process with rights to mount, in a mount namespace of its own.
#[tokio::test]
async fn a_real_disk_that_is_full() {
    const NAME: &str = "event::journal::tests::full::a_real_disk_that_is_full";
    let Some(disk) = is_child() else {
        let disk = directory();
        let script = "mount -t tmpfs -o size=8m none \"$PLUGMESH_TEST_CHILD\" || exit 77; exec \"$@\"";
        let output = child(&["unshare", "-m", "sh", "-c", script, "sh"], NAME, disk.path()).output().unwrap();
        if output.status.code() == Some(77)
            || String::from_utf8_lossy(&output.stderr).contains("unshare failed")
        {
            println!("not done: nothing can be mounted here");
            return;
        }
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
        return;
    };
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![1; 2 << 20]).unwrap();
    let (journal, _) = open(&disk).await;
    let safe = journal.stream("safe").unwrap();
    let error = fill(&journal, safe).await;
    assert!(matches!(error, JournalError::Full { .. }), "{error}");
    assert!(journal.last_place() > 1_000, "{}", journal.last_place());
    assert_all_there(&journal).await;
    std::fs::remove_file(&filler).unwrap();
    let next = journal.last_place() + 1;
    journal.append(safe, run([next])).await.unwrap();
    fill(&journal, safe).await;
    assert_all_there(&journal).await;
    let last = journal.last_place();
    drop(journal);
    let (journal, opened) = open(&disk).await;
    assert_eq!((journal.last_place(), opened.salvage), (last, None));
    assert_all_there(&journal).await;
}
