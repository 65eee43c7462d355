//! Durable events while the host, publishers and members are killed at random points: `plugmesh_crash` says how, and what must hold.

use std::sync::atomic::{AtomicU64, Ordering};

use plugmesh_crash::round::{Counts, Outcome, Programs, run};
use plugmesh_tests::binary;

/// Rounds, each with a seed of its own: half of them for each policy of the journal.
const ROUNDS: u64 = 50;

/// Rounds at the same time: they wait for each other's disks and clocks more than for a CPU.
const AT_ONCE: usize = 4;

fn programs() -> Programs {
    let text = |name| binary(name).display().to_string();
    let participant = vec![text("crash-participant")];
    let host = ["exec".to_owned(), text("plugmesh"), "serve".to_owned()];
    Programs { host: [participant.clone(), host.to_vec()].concat(), participant }
}

#[test]
fn nothing_acknowledged_is_lost_and_keys_stay_in_order_whoever_is_killed() {
    let programs = programs();
    let next = AtomicU64::new(0);
    let work = || {
        let seeds = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        seeds.take_while(|seed| *seed < ROUNDS).map(|seed| run(seed, &programs).unwrap()).collect::<Vec<_>>()
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.len() as u64, ROUNDS);
    let mut counts = Counts::default();
    outcomes.iter().for_each(|outcome| counts += outcome.counts);
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.problems.is_empty()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    // What this shows depends on it.
    assert!(counts.host_kills >= 50 && counts.redeliveries > 100 && counts.duplicates > 100, "{counts:?}");
    assert!(counts.member_kills + counts.member_deaths > 50 && counts.publisher_kills > 10, "{counts:?}");
    eprintln!("{counts:?}");
}
