use std::time::{Duration, SystemTime};

use plugmesh::event::v1::Cause;

use super::*;

#[tokio::test]
async fn events_come_back_in_order_over_all_streams() {
    let directory = directory();
    let (journal, opened) = open(directory.path()).await;
    assert!(opened.cursors.is_empty() && opened.salvage.is_none());
    assert_eq!((journal.first_place(), journal.last_place()), (1, 0));
    let (safe, fast) = (journal.stream("safe").unwrap(), journal.stream("fast").unwrap());
    assert_eq!(journal.stream("other"), None);
    let before = SystemTime::now() - Duration::from_secs(1);
    assert_eq!(journal.append(safe, run(1..=3)).await.unwrap().first_place, 1);
    assert_eq!(journal.append(fast, run(4..=4)).await.unwrap().first_place, 4);
    let more = [(fast, run(5..=8)), (safe, run(9..=10)), (fast, run(11..=12))];
    let both = more.map(|(stream, run)| journal.append(stream, run));
    let both = futures_util::future::try_join_all(both).await.unwrap();
    assert_eq!(both.iter().map(|appended| appended.first_place).collect::<Vec<_>>(), [5, 9, 11]);
    assert!(both[0].recorded > before && both[0].recorded <= SystemTime::now());
    for (max_events, max_bytes) in [(100, 1 << 20), (1, 1 << 20), (3, 1 << 20), (100, 1), (100, 150)] {
        let read = read_all(&journal, max_events, max_bytes).await;
        assert_eq!(ids(&read.stored), placed(1..=12), "{max_events} events, {max_bytes} bytes");
        assert_eq!(read.through, 12);
    }
    let streams = journal.read(3, 7, 1 << 20).await.unwrap();
    let streams: Vec<_> =
        streams.stored.iter().map(|stored| (&*stored.stream, stored.first_place, stored.count)).collect();
    // What waited together is one row, if nothing of another stream came between.
    assert_eq!(streams, [("fast", 4, 1), ("fast", 5, 4), ("safe", 9, 2)]);
    assert_eq!(journal.read(12, 10, 10).await.unwrap(), Read { through: 12, ..Read::default() });

    drop(journal);
    let (journal, _) = open(directory.path()).await;
    assert_eq!(ids(&read_all(&journal, 5, 1 << 20).await.stored), placed(1..=12));
    assert_eq!((journal.first_place(), journal.last_place()), (1, 12));
    let stats = journal.stats().await.unwrap();
    assert_eq!((stats.events, stats.first_place, stats.last_place, stats.problem), (12, 1, 12, None));
    assert!(stats.bytes > 10 * 4096);
}

#[tokio::test]
async fn what_waits_together_is_committed_together() {
    let directory = directory();
    let (journal, _) = open(directory.path()).await;
    let safe = journal.stream("safe").unwrap();
    let appends = (0..500).map(|id| journal.append(safe, run([id])));
    let mut places: Vec<_> = futures_util::future::try_join_all(appends)
        .await
        .unwrap()
        .iter()
        .map(|done| done.first_place)
        .collect();
    places.sort_unstable();
    assert_eq!(places, (1..=500).collect::<Vec<_>>());
    let stats = journal.stats().await.unwrap();
    assert!(stats.commits < 100, "{} commits", stats.commits);
    let read = journal.read(0, 1000, 1 << 20).await.unwrap();
    assert_eq!(ids(&read.stored).len(), 500);
    assert!(read.stored.len() < 100, "{} rows", read.stored.len());
}

#[tokio::test]
async fn the_second_to_open_it_is_told() {
    let directory = directory();
    let (journal, _) = open(directory.path()).await;
    let error = Journal::open(options(directory.path())).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("journal.db is in use"), "{error}");
    journal.close().await;
    assert!(matches!(journal.stats().await, Err(JournalError::Closed { .. })));
    // It is free as soon as it is closed, and not only when it is dropped.
    drop(open(directory.path()).await);
    // Somebody who is replacing a damaged one holds only this.
    let lock = std::fs::File::open(directory.path().join("journal.db.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(Journal::open(options(directory.path())).await, Err(OpenError::InUse { .. })));
}

#[tokio::test]
async fn what_is_no_journal_is_left_alone() {
    let directory = directory();
    let path = directory.path().join("journal.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE accounts(name); INSERT INTO accounts VALUES('me');").unwrap();
    drop(other);
    let error = Journal::open(options(directory.path())).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    std::fs::write(&path, vec![b'#'; 20_000]).unwrap();
    let error = Journal::open(options(directory.path())).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'#'; 20_000]);

    let missing =
        JournalOptions { path: directory.path().join("no/such/journal.db"), ..options(directory.path()) };
    let error = Journal::open(missing).await.unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    let mut twice = options(directory.path());
    twice.streams.push(twice.streams[0].clone());
    assert!(matches!(Journal::open(twice).await, Err(OpenError::Twice { .. })));
}

#[tokio::test]
async fn a_later_format_is_not_touched() {
    let directory = directory();
    drop(open(directory.path()).await);
    let path = directory.path().join("journal.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version=7").unwrap();
    // A later version would have saved its own.
    std::fs::remove_file(directory.path().join("journal.db.head")).unwrap();
    let error = Journal::open(options(directory.path())).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 7, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn finds_by_time_and_by_id() {
    let directory = directory();
    let (journal, _) = open(directory.path()).await;
    let (safe, fast) = (journal.stream("safe").unwrap(), journal.stream("fast").unwrap());
    let mut times = Vec::new();
    for step in 0..20_u64 {
        let stream = if step % 3 == 0 { safe } else { fast };
        times.push(journal.append(stream, run([step, 100 + step, 200])).await.unwrap());
    }
    for appended in &times {
        let same = times.iter().find(|other| other.recorded == appended.recorded).unwrap();
        assert_eq!(journal.first_at_or_after(appended.recorded).await.unwrap(), same.first_place);
    }
    assert_eq!(journal.first_at_or_after(SystemTime::UNIX_EPOCH).await.unwrap(), 1);
    assert_eq!(journal.first_at_or_after(SystemTime::now() + Duration::from_secs(9)).await.unwrap(), 61);
    assert_eq!(journal.find_newest("7", 1000).await.unwrap(), Some(22));
    assert_eq!(journal.find_newest("200", 1000).await.unwrap(), Some(60));
    assert_eq!(journal.find_newest("nobody", 1000).await.unwrap(), None);
}

#[tokio::test]
async fn a_search_backwards_is_bounded() {
    let directory = directory();
    let (journal, _) = open(directory.path()).await;
    let fast = journal.stream("fast").unwrap();
    for step in 0..100 {
        journal.append(fast, run(step * 100..step * 100 + 100)).await.unwrap();
    }
    assert_eq!(journal.find_newest("5", 20_000).await.unwrap(), Some(6));
    assert_eq!(journal.find_newest("5", 2_000).await.unwrap(), None);
}

fn letter(subscription: &str, event: &'static str) -> NewDeadLetter {
    NewDeadLetter {
        subscription: subscription.to_owned(),
        place: Some(7),
        event: bytes(event),
        cause: Cause::Rejected,
        reason: "ü".repeat(700),
        attempts: 3,
        first_delivered: SystemTime::UNIX_EPOCH + Duration::from_micros(1_234_567),
        given_up: SystemTime::UNIX_EPOCH + Duration::from_secs(2),
    }
}

/// One more letter, with so many bytes.
fn add(bytes: usize) -> Change {
    Change::AddDeadLetter(NewDeadLetter { event: vec![0; bytes].into(), ..letter("billing", "") })
}

#[tokio::test]
async fn cursors_and_dead_letters_change_together() {
    let directory = directory();
    let (journal, _) = open(directory.path()).await;
    let cursor = |floor, state| Cursor { name: "billing".to_owned(), floor, state: bytes(state) };
    let done = journal.commit(vec![
        Change::SaveCursor(cursor(5, "five")),
        Change::SaveCursor(Cursor { name: "gone".to_owned(), ..cursor(1, "") }),
        Change::AddDeadLetter(letter("billing", "first")),
        Change::AddDeadLetter(letter("billing", "second")),
        Change::AddDeadLetter(NewDeadLetter { place: None, ..letter("other", "third") }),
    ]);
    assert_eq!(done.await.unwrap(), Committed { added: vec![1, 2, 3], removed: 0, dropped: 0 });
    let changes = vec![
        Change::SaveCursor(cursor(9, "nine")),
        Change::RemoveCursor("gone".to_owned()),
        Change::RemoveDeadLetters(vec![2, 99]),
    ];
    assert_eq!(journal.commit(changes).await.unwrap().removed, 1);
    journal.close().await;

    let (journal, opened) = open(directory.path()).await;
    assert_eq!(opened.cursors, [cursor(9, "nine")]);
    let all = journal.dead_letters(None, 0, 10).await.unwrap().letters;
    assert_eq!(all.iter().map(|letter| letter.id).collect::<Vec<_>>(), [1, 3]);
    assert!(all.iter().all(|letter| letter.is_sound));
    let expected = NewDeadLetter { reason: "ü".repeat(512), ..letter("billing", "first") };
    assert_eq!(all[0].letter, expected, "and no more than a KiB of what was said");
    assert_eq!(all[1].letter.place, None);
    assert_eq!(journal.dead_letters(Some("other".to_owned()), 0, 10).await.unwrap().letters, all[1..]);
    assert_eq!(journal.dead_letters(None, 1, 10).await.unwrap().letters, all[1..]);
    assert_eq!(journal.dead_letters(None, 0, 1).await.unwrap().letters, all[..1]);
    assert_eq!(journal.dead_letter(3).await.unwrap().as_ref(), Some(&all[1]));
    assert_eq!(journal.dead_letter(2).await.unwrap(), None);
    // Ids are not used again.
    journal.commit(vec![Change::RemoveDeadLetters(vec![3])]).await.unwrap();
    let done = journal.commit(vec![Change::AddDeadLetter(letter("other", "fourth"))]).await.unwrap();
    assert_eq!(done.added, [4]);
}

#[tokio::test]
async fn the_oldest_dead_letters_make_room() {
    let directory = directory();
    let bounds =
        JournalOptions { max_dead_letters: 3, max_dead_letter_bytes: 100, ..options(directory.path()) };
    let (journal, _) = Journal::open(bounds).await.unwrap();
    let left = async || {
        let letters = journal.dead_letters(None, 0, 100).await.unwrap().letters;
        letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    let done = journal.commit(vec![add(1), add(1), add(1), add(1), add(1)]).await.unwrap();
    assert_eq!((done.dropped, left().await), (2, vec![3, 4, 5]));
    assert_eq!(journal.commit(vec![add(99)]).await.unwrap().dropped, 2);
    assert_eq!(left().await, [5, 6]);
    assert_eq!(journal.commit(vec![add(500)]).await.unwrap().dropped, 2);
    assert_eq!(left().await, [7], "one is kept, however large");
    let stats = journal.stats().await.unwrap();
    assert_eq!((stats.dead_letters, stats.dead_letters_dropped), (1, 6));
}

#[tokio::test]
async fn a_page_of_dead_letters_is_bounded_in_bytes() {
    let directory = directory();
    let (journal, _) = open(directory.path()).await;
    for bytes in [1 << 20, 1 << 20, 1 << 20, 1, 3 << 20] {
        journal.commit(vec![add(bytes)]).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut after = 0;
    loop {
        let page = journal.dead_letters(None, after, 100).await.unwrap();
        pages.push(page.letters.len());
        after = page.last().unwrap();
        if !page.has_more {
            break;
        }
    }
    assert_eq!(pages, [3, 1, 1], "3 MiB each, and one that is larger alone");
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let directory = directory();
    let (journal, _) = open(directory.path()).await;
    let fast = journal.stream("fast").unwrap();
    let large = |bytes| run_of(["large".to_owned()], bytes);
    let error = journal.append(fast, large(17 << 20)).await.unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { .. }), "{error}");
    assert_eq!(journal.last_place(), 0);
    journal.append(fast, large(9 << 20)).await.unwrap();
    let read = journal.read(0, 10, 10).await.unwrap();
    assert_eq!(ids(&read.stored), [(1, "large".to_owned())], "alone it may exceed the bound");
}

#[tokio::test]
async fn a_stream_that_is_not_configured_any_more_is_kept() {
    let directory = directory();
    let (journal, _) = open(directory.path()).await;
    journal.append(journal.stream("fast").unwrap(), run(1..=5)).await.unwrap();
    drop(journal);
    let mut without = options(directory.path());
    without.streams.remove(1);
    let (journal, opened) = Journal::open(without).await.unwrap();
    assert_eq!(opened.retired, ["fast"]);
    assert_eq!(journal.stream("fast"), None);
    journal.append(journal.stream("safe").unwrap(), run(6..=6)).await.unwrap();
    assert_eq!(ids(&read_all(&journal, 9, 1 << 20).await.stored), placed(1..=6));
}
