//! How many events a second. Not a test: `cargo test --release -p plugmesh-host --lib journal::tests::speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;

/// How long each is measured.
const TIME: Duration = Duration::from_secs(3);

async fn measure(stream: &str, in_flight: usize, per_run: u64) {
    let directory = directory();
    let mut options = options(directory.path());
    options.streams.iter_mut().for_each(|stream| stream.max_bytes = Some(256 << 20));
    let (journal, _) = Journal::open(options).await.unwrap();
    let id = journal.stream(stream).unwrap();
    // 100 bytes an event.
    let run = run_of((0..per_run).map(|id| format!("{id:04}")), 63);
    let event = run.bytes().len() as u64 / per_run;
    let start = Instant::now();
    let callers = (0..in_flight).map(|_| async {
        let mut done = 0;
        while start.elapsed() < TIME {
            journal.append(id, run.clone()).await.unwrap();
            done += per_run;
        }
        done
    });
    let events: u64 = futures_util::future::join_all(callers).await.into_iter().sum();
    let rate = events as f64 / start.elapsed().as_secs_f64();
    let commits = journal.stats().await.unwrap().commits;
    println!(
        "{stream}: {in_flight} in flight of {per_run} events of {event} B: {rate:.0} events/s, {} a commit",
        events / commits
    );
}

#[tokio::test]
#[ignore = "measures, for some half a minute"]
async fn events_a_second() {
    for stream in ["fast", "safe"] {
        for (in_flight, per_run) in [(256, 1), (1, 16), (16, 16), (1, 64), (16, 64), (64, 64)] {
            measure(stream, in_flight, per_run).await;
        }
    }
}
