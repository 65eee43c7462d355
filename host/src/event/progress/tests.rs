use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::super::receipt::{Awaited, Completions};
use super::*;

fn live() -> Progress {
    let mut progress = Progress::new(Start::End);
    progress.begin(0, 0);
    progress.read_through(0, 0);
    progress
}

fn saved(progress: &mut Progress, delivered: u64) -> (u64, Bytes) {
    progress.is_unsaved();
    progress.save(delivered, &Bytes::new()).unwrap()
}

#[test]
fn what_is_done_above_the_floor_does_not_come_again() {
    let mut progress = live();
    for place in [2, 5, 6, 9] {
        assert_eq!(progress.recorded(place, true), Verdict::Admit { attempts: 0 });
    }
    progress.done(2, true);
    progress.done(6, true);
    progress.failed(5, 3);
    let (floor, state) = saved(&mut progress, 9);
    assert_eq!(floor, 4);
    let (mut restored, _) = Progress::restore(floor, &state);
    let again: Vec<_> = (5..=10).map(|place| restored.read(place)).collect();
    let (new, pass) = (Verdict::Admit { attempts: 0 }, Verdict::Pass);
    // Nobody asked for 7, 8 and 10 before; the filter says so again.
    assert_eq!(again, [Verdict::Admit { attempts: 3 }, pass, new, new, new, new]);
}

#[test]
fn without_room_it_falls_behind_and_comes_back() {
    let mut progress = live();
    assert_eq!(progress.recorded(1, true), Verdict::Admit { attempts: 0 });
    assert_eq!(progress.recorded(4, false), Verdict::Pass);
    assert_eq!(progress.recorded(5, true), Verdict::Pass, "that is read later, in order");
    assert_eq!((progress.stage(), progress.position()), (&Stage::Behind, 3));
    assert_eq!(progress.read(4), Verdict::Admit { attempts: 0 });
    progress.read_through(4, 5);
    assert_eq!(progress.stage(), &Stage::Behind);
    assert_eq!(progress.read(5), Verdict::Admit { attempts: 0 });
    progress.read_through(5, 5);
    assert_eq!(progress.stage(), &Stage::Live);
    assert_eq!(progress.recorded(5, true), Verdict::Pass, "it was read already");
    assert_eq!(progress.recorded(6, true), Verdict::Admit { attempts: 0 });
}

#[test]
fn who_waits_for_an_event_is_told_whenever_it_is_handled() {
    let completions = Arc::<Completions>::default();
    let mut cx = Context::from_waker(Waker::noop());
    let mut progress = live();
    let expect = |progress: &mut Progress, place| {
        let awaited = Awaited::new(&completions, place);
        progress.expect(place, awaited.receipt(0, &"s".into()));
        awaited.published();
        awaited
    };
    assert_eq!(progress.recorded(1, true), Verdict::Admit { attempts: 0 });
    expect(&mut progress, 1);
    assert_eq!(progress.recorded(2, false), Verdict::Pass);
    let second = expect(&mut progress, 2);
    assert!(completions.poll(&mut cx).is_pending());
    progress.done(1, true);
    assert_eq!(completions.poll(&mut cx), Poll::Ready(vec![1]));
    assert_eq!(progress.read(2), Verdict::Admit { attempts: 0 });
    progress.done(2, false);
    assert_eq!(completions.poll(&mut cx), Poll::Ready(vec![2]));
    assert_eq!(second.take_results()[0].given_up, ["s"]);
    expect(&mut progress, 2);
    assert_eq!(completions.poll(&mut cx), Poll::Ready(vec![2]), "it is done already");
}

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Record { wanted: bool, has_room: bool },
    Read { events: u64 },
    Done { nth: usize },
    Failed { nth: usize },
    Park,
    Crash,
    Save,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), prop::bool::weighted(0.8)).prop_map(|(wanted, has_room)| Step::Record { wanted, has_room }),
        3 => (1u64..5).prop_map(|events| Step::Read { events }),
        4 => (0usize..6).prop_map(|nth| Step::Done { nth }),
        1 => (0usize..6).prop_map(|nth| Step::Failed { nth }),
        1 => Just(Step::Park),
        1 => Just(Step::Crash),
        2 => Just(Step::Save),
    ]
}

proptest! {
    /// Every wanted event is given until it is done; none comes again that was done when progress was saved last; those that come for
    /// the first time come in order.
    #[test]
    fn nothing_is_lost_and_what_was_saved_as_done_stays_done(steps in prop::collection::vec(step(), 1..120)) {
        let mut progress = live();
        let mut wanted = BTreeSet::new();
        let (mut open, mut done, mut done_and_saved) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut last = 0;
        let mut store = saved(&mut progress, 0);
        let read = |progress: &mut Progress, open: &mut BTreeSet<u64>, wanted: &BTreeSet<u64>, events: u64, last: u64| {
            let from = progress.position();
            let through = (from + events).min(last);
            for place in wanted.iter().filter(|place| (from + 1..=through).contains(*place)) {
                if let Verdict::Admit { .. } = progress.read(*place) {
                    assert!(open.insert(*place), "{place} is open already");
                }
            }
            progress.read_through(through, last);
        };
        for step in steps {
            match step {
                Step::Record { wanted: is_wanted, has_room } => {
                    last += 1;
                    if is_wanted {
                        wanted.insert(last);
                        if let Verdict::Admit { .. } = progress.recorded(last, has_room) {
                            open.insert(last);
                        }
                    }
                }
                Step::Read { events } if progress.stage() == &Stage::Behind => read(&mut progress, &mut open, &wanted, events, last),
                Step::Read { .. } => {}
                Step::Done { nth } => if let Some(place) = open.iter().nth(nth).copied() {
                    open.remove(&place);
                    progress.done(place, true);
                    done.insert(place);
                },
                Step::Failed { nth } => if let Some(place) = open.iter().nth(nth) {
                    progress.failed(*place, 1);
                },
                Step::Park => {
                    progress.park();
                    open.clear();
                }
                Step::Save => {
                    store = saved(&mut progress, last);
                    done_and_saved = done.clone();
                }
                Step::Crash => {
                    progress = Progress::restore(store.0, &store.1).0;
                    open.clear();
                    done = done_and_saved.clone();
                }
            }
            prop_assert!(open.is_disjoint(&done), "{:?}", open.intersection(&done).collect::<Vec<_>>());
            prop_assert_eq!(progress.open(), open.len());
        }
        while progress.stage() == &Stage::Behind {
            read(&mut progress, &mut open, &wanted, 3, last);
        }
        let all: BTreeSet<_> = open.union(&done).copied().collect();
        prop_assert_eq!(all, wanted);
    }
}
