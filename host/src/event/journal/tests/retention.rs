use std::sync::Mutex;
use std::time::Duration;

use super::super::clock::{Reading, TimeSource};
use super::*;

const SECOND: u64 = 1_000_000;

/// A clock to be set by hand: the wall's time and the ticks.
type Hands = Arc<Mutex<Reading>>;

fn with_limits(directory: &Path, limit: impl Fn(&mut StreamConfig)) -> (JournalOptions, Hands) {
    let hands = Arc::new(Mutex::new(Reading { wall: 1_000_000 * SECOND, ticks: 0 }));
    let mut options = options(directory);
    options.time = TimeSource::new({
        let hands = hands.clone();
        move || *hands.lock().unwrap()
    });
    // Each look at it looks at the ages as well.
    options.tick = Duration::from_millis(1);
    options.streams.iter_mut().for_each(limit);
    (options, hands)
}

fn pass(hands: &Hands, wall: u64, ticks: u64) {
    let mut hands = hands.lock().unwrap();
    hands.wall += wall * SECOND;
    hands.ticks += ticks * SECOND;
}

/// Waits until that many events are left, and no fewer.
async fn await_events(journal: &Journal, events: u64) {
    await_at_most(journal, events).await;
    assert_eq!(journal.stats().await.unwrap().events, events);
}

#[tokio::test]
async fn the_oldest_rows_of_a_stream_go() {
    let directory = directory();
    let (options, _) = with_limits(directory.path(), |stream| {
        if stream.name == "fast" {
            stream.max_events = Some(25);
        }
    });
    let (journal, _) = Journal::open(options).await.unwrap();
    let (safe, fast) = (journal.stream("safe").unwrap(), journal.stream("fast").unwrap());
    journal.append(safe, run(1..=5)).await.unwrap();
    for first in (6..=105).step_by(10) {
        journal.append(fast, run(first..first + 10)).await.unwrap();
    }
    // Whole rows: two of them are 20, three would be 30.
    await_events(&journal, 25).await;
    let read = read_all(&journal, 100, 1 << 20).await;
    assert_eq!(ids(&read.stored), placed((1..=5).chain(86..=105)));
    assert_eq!((journal.first_place(), journal.last_place()), (1, 105));
}

#[tokio::test]
async fn bytes_are_bounded_while_events_come_and_space_is_used_again() {
    let directory = directory();
    let (options, _) = with_limits(directory.path(), |stream| stream.max_bytes = Some(2 << 20));
    let (journal, _) = Journal::open(options).await.unwrap();
    let fast = journal.stream("fast").unwrap();
    let run = run_of((0..64).map(|id| id.to_string()), 500);
    let limit = 64 * (2 << 20) / run.bytes().len() as u64;
    for step in 0..120 {
        let appends = (0..8).map(|_| journal.append(fast, run.clone()));
        futures_util::future::try_join_all(appends).await.unwrap();
        let events = journal.stats().await.unwrap().events;
        assert!(events < 2 * limit, "{events} events in step {step}");
    }
    await_at_most(&journal, limit).await;
    journal.close().await;
    // 34 MB went through it.
    let length = std::fs::metadata(directory.path().join("journal.db")).unwrap().len();
    assert!(length < 8 << 20, "{length}");
}

#[tokio::test]
async fn age_counts_by_the_ticks_of_the_clock() {
    let directory = directory();
    let (options, hands) =
        with_limits(directory.path(), |stream| stream.max_age = Some(Duration::from_secs(100)));
    let (journal, _) = Journal::open(options.clone()).await.unwrap();
    let fast = journal.stream("fast").unwrap();
    let first = journal.append(fast, run(1..=10)).await.unwrap();
    // Somebody sets the clock a year ahead.
    pass(&hands, 365 * 86_400, 1);
    let second = journal.append(fast, run(11..=20)).await.unwrap();
    assert!(second.recorded > first.recorded + Duration::from_secs(364 * 86_400));
    // And back by two.
    {
        let mut hands = hands.lock().unwrap();
        hands.wall -= 2 * 365 * 86_400 * 1_000;
    }
    pass(&hands, 0, 50);
    let third = journal.append(fast, run(21..=30)).await.unwrap();
    assert!(third.recorded >= second.recorded);
    for _ in 0..20 {
        assert_eq!(journal.stats().await.unwrap().events, 30);
    }
    pass(&hands, 0, 50);
    await_events(&journal, 20).await;
    pass(&hands, 0, 1);
    await_events(&journal, 10).await;
    assert_eq!(journal.first_place(), 21);

    // With everything gone, places go on, also in the next life.
    pass(&hands, 0, 100);
    await_events(&journal, 0).await;
    assert_eq!((journal.first_place(), journal.last_place()), (31, 30));
    drop(journal);
    let (journal, _) = Journal::open(options).await.unwrap();
    assert_eq!((journal.first_place(), journal.last_place()), (31, 30));
    assert_eq!(journal.append(fast, run([31])).await.unwrap().first_place, 31);
    assert_eq!(ids(&read_all(&journal, 9, 999).await.stored), placed(31..=31));
}
