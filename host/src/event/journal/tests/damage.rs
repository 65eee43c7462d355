//! Files that are not what was written.

use super::*;

/// Runs of 20 events whose ids are their places, in both streams by turns.
async fn fill(journal: &Journal, runs: u64) {
    for step in 0..runs {
        let stream = journal.stream(if step % 2 == 0 { "safe" } else { "fast" }).unwrap();
        let next = journal.last_place() + 1;
        let ids = (next..next + 20).map(|id| id.to_string());
        journal.append(stream, run_of(ids, 100)).await.unwrap();
    }
}

/// A closed journal with so many runs and a cursor.
async fn filled(directory: &Path, runs: u64) -> std::path::PathBuf {
    let (journal, _) = open(directory).await;
    fill(&journal, runs).await;
    let cursor = Cursor { name: "billing".to_owned(), floor: 33, state: bytes("state") };
    journal.commit(vec![Change::SaveCursor(cursor)]).await.unwrap();
    journal.close().await;
    directory.join("journal.db")
}

/// The bytes with which the event at a place begins.
fn needle(place: u64) -> Vec<u8> {
    let event = run_of([place.to_string()], 100).bytes().to_vec();
    event[..24].to_vec()
}

fn in_table_damaged(path: &Path) -> Vec<u64> {
    let database = rusqlite::Connection::open(path).unwrap();
    let mut select = database.prepare("SELECT place FROM damaged ORDER BY place").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_damaged_row_is_passed_over_told_and_kept() {
    let directory = directory();
    let path = filled(directory.path(), 10).await;
    // Within the fourth run, and in the last one.
    flip(&path, find(&path, &needle(65)) + 60);
    flip(&path, find(&path, &needle(190)) + 60);
    let (journal, opened) = open(directory.path()).await;
    let damaged =
        |first_place| Damaged { first_place, count: 20, stream: "fast".to_owned(), path: path.clone() };
    assert_eq!(opened.damaged, [damaged(181)], "the newest is looked at first");
    assert_eq!(opened.salvage, None);
    assert_eq!(journal.last_place(), 200);
    let read = journal.read(0, 1000, 1 << 20).await.unwrap();
    assert_eq!(ids(&read.stored), placed((1..=60).chain(81..=180)));
    assert_eq!(read.damaged, [damaged(61)]);
    assert_eq!(read.through, 200);
    let stats = journal.stats().await.unwrap();
    assert_eq!(stats.damaged_rows, 2);
    assert!(stats.problem.unwrap().contains("2 damaged rows are kept in the table 'damaged' of"));
    // It goes on behind them, and does not tell them again.
    assert_eq!(journal.append(journal.stream("fast").unwrap(), run([201])).await.unwrap().first_place, 201);
    let again = journal.read(40, 1000, 1 << 20).await.unwrap();
    assert_eq!(ids(&again.stored), placed((41..=60).chain(81..=180).chain(201..=201)));
    assert_eq!(again.damaged, []);
    journal.close().await;
    assert_eq!(in_table_damaged(&path), [61, 181]);
    let (journal, _) = open(directory.path()).await;
    assert_eq!(journal.stats().await.unwrap().damaged_rows, 2);
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_replaced() {
    let directory = directory();
    let path = filled(directory.path(), 400).await;
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length * 6 / 10 + 77).unwrap();
    let damaged = std::fs::read(&path).unwrap();
    let (journal, opened) = open(directory.path()).await;
    let salvage = opened.salvage.unwrap();
    assert_eq!(std::fs::read(&salvage.kept_at).unwrap(), damaged, "kept as it was found");
    assert!(salvage.events > 3_000 && salvage.events < 8_000, "{salvage:?}");
    assert!(!salvage.unreadable.is_empty());
    let read = read_all(&journal, 10_000, 1 << 20).await;
    let found = ids(&read.stored);
    assert_eq!(found.len() as u64, salvage.events);
    assert!(found.iter().all(|(place, id)| place.to_string() == *id));
    assert!(found.is_sorted());
    assert_eq!(opened.cursors.len(), 1);
    let problem = journal.stats().await.unwrap().problem.unwrap();
    assert!(problem.contains("journal.db.damaged-1"), "{problem}");
    // No place is given twice, though nobody can tell any more which were.
    let next = journal.append(journal.stream("safe").unwrap(), run([1])).await.unwrap().first_place;
    assert!(next > 8_000, "{next}");
}

#[tokio::test]
async fn a_file_without_its_beginning_is_replaced() {
    for length in [1, 100, 4096] {
        let directory = directory();
        let path = filled(directory.path(), 100).await;
        let mut damaged = std::fs::read(&path).unwrap();
        damaged[..length].fill(0xee);
        std::fs::write(&path, &damaged).unwrap();
        let (journal, opened) = open(directory.path()).await;
        let salvage = opened.salvage.unwrap();
        assert_eq!((salvage.events, &salvage.unreadable[..]), (2_000, &[][..]), "{length} bytes");
        assert_eq!(std::fs::read(&salvage.kept_at).unwrap(), damaged);
        assert_eq!(ids(&read_all(&journal, 10_000, 1 << 20).await.stored), placed(1..=2_000));
        assert_eq!(opened.cursors[0].floor, 33);
    }
}

#[tokio::test]
async fn a_file_that_was_emptied_is_told() {
    let directory = directory();
    let path = filled(directory.path(), 3).await;
    std::fs::write(&path, b"").unwrap();
    let (journal, opened) = open(directory.path()).await;
    assert!(opened.salvage.is_some());
    assert_eq!(read_all(&journal, 10, 1000).await.stored, []);
    journal.append(journal.stream("safe").unwrap(), run([1])).await.unwrap();
}

#[tokio::test]
async fn what_is_found_damaged_in_use_is_replaced_in_use() {
    let directory = directory();
    let path = filled(directory.path(), 400).await;
    // The page in which a row lies is no page of a table any more.
    let page = find(&path, &needle(4_001)) / 4096;
    flip(&path, page * 4096);
    let (journal, opened) = open(directory.path()).await;
    assert_eq!(opened.salvage, None, "not all is looked at when it is opened");
    let read = read_all(&journal, 1_000, 1 << 20).await;
    let found = ids(&read.stored);
    assert!(found.len() > 7_800 && found.len() < 8_000, "{}", found.len());
    assert!(found.iter().all(|(place, id)| place.to_string() == *id));
    let problem = journal.stats().await.unwrap().problem.unwrap();
    assert!(problem.contains("journal.db.damaged-1"), "{problem}");
    assert!(directory.path().join("journal.db.damaged-1").exists());
    journal.append(journal.stream("fast").unwrap(), run([1])).await.unwrap();
}

#[tokio::test]
async fn a_replacement_that_was_cut_off_is_finished() {
    let directory = directory();
    let path = filled(directory.path(), 10).await;
    // As after the first of two renames.
    std::fs::rename(&path, directory.path().join("journal.db.salvage")).unwrap();
    std::fs::write(directory.path().join("journal.db.damaged-1"), b"the damaged one").unwrap();
    std::fs::write(directory.path().join("journal.db-wal"), b"its log").unwrap();
    let (journal, opened) = open(directory.path()).await;
    assert_eq!(opened.salvage, None);
    assert_eq!(ids(&read_all(&journal, 1_000, 1 << 20).await.stored), placed(1..=200));
    assert_eq!(std::fs::read(directory.path().join("journal.db.damaged-1-wal")).unwrap(), b"its log");
    drop(journal);
    // And as before it.
    std::fs::write(directory.path().join("journal.db.salvage"), b"not complete").unwrap();
    let (journal, _) = open(directory.path()).await;
    assert_eq!(ids(&read_all(&journal, 1_000, 1 << 20).await.stored), placed(1..=200));
    assert!(!directory.path().join("journal.db.salvage").exists());
}

#[tokio::test]
async fn damage_anywhere_never_makes_up_an_event() {
    let original = directory();
    let path = filled(original.path(), 60).await;
    let (sound, head) =
        (std::fs::read(&path).unwrap(), std::fs::read(original.path().join("journal.db.head")).unwrap());
    let mut rng = fastrand::Rng::with_seed(3);
    let mut least = u64::MAX;
    for round in 0..60 {
        let directory = directory();
        let path = directory.path().join("journal.db");
        let mut damaged = sound.clone();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..damaged.len());
            let end = (at + rng.usize(1..64)).min(damaged.len());
            damaged[at..end].iter_mut().for_each(|byte| *byte = rng.u8(..));
        }
        std::fs::write(&path, &damaged).unwrap();
        std::fs::write(directory.path().join("journal.db.head"), &head).unwrap();
        let (journal, _) = open(directory.path()).await;
        let read = read_all(&journal, 1_000, 1 << 20).await;
        let found = ids(&read.stored);
        assert!(found.iter().all(|(place, id)| place.to_string() == *id), "round {round}");
        assert!(found.is_sorted(), "round {round}");
        least = least.min(found.len() as u64);
        let next = journal.append(journal.stream("safe").unwrap(), run([1])).await.unwrap().first_place;
        assert!(next > found.last().map_or(0, |(place, _)| *place), "round {round}");
    }
    // Five faults spoil five pages or rows of some hundred, or what leads to them.
    assert!(least > 500, "{least} of 1200");
}
