//! Deliveries of a subscription, with the time in our hands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plugmesh::event::frame::{EventsMessage, Incoming, bus_frame};
use plugmesh::event::v1::Delivery;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Signal for Count {
    fn ready(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn redelivery() -> Redelivery {
    Redelivery {
        ack_deadline: Duration::from_secs(30),
        max_attempts: 3,
        backoff: Backoff { initial: Duration::from_secs(1), jitter: 0.0, ..Backoff::default() },
        blocks_key: true,
    }
}

fn reliable() -> Entries {
    Entries::new(Bounds { events: 100, bytes: 10_000 }, Overflow::Block, Some(redelivery()), None)
}

fn lossy(overflow: Overflow) -> Entries {
    Entries::new(Bounds { events: 3, bytes: 10_000 }, overflow, None, None)
}

fn push(entries: &mut Entries, event: &str, key: Option<u64>) -> usize {
    let event = Bytes::copy_from_slice(event.as_bytes());
    entries.push(Arrival { event, key, place: None, receipt: None })
}

fn join(entries: &mut Entries, id: u64) -> Arc<Count> {
    let signal = Arc::new(Count::default());
    entries.join(MemberId(id), signal.clone());
    signal
}

/// A delivery as a member sees it: number, event, attempt.
fn take_some(entries: &mut Entries, id: u64, most: usize, now: Instant) -> Vec<(u64, String, u32)> {
    let parcel = entries.take(MemberId(id), Budget { events: most, bytes: 10_000 }, now);
    let Some(message) = parcel.finish(1) else { return Vec::new() };
    let Incoming::Events(message) = bus_frame(message.slice(5..)).unwrap() else { panic!("no events") };
    let mut spans = Vec::new();
    let head = Delivery::read(&message, 1000, &mut spans).unwrap();
    let attempt = |index| head.attempts.iter().find(|a| a.index == index as u32).map_or(1, |a| a.number);
    let text = |span: &plugmesh::event::frame::EventSpan| {
        String::from_utf8(message[span.content()].to_vec()).unwrap()
    };
    let events = spans.iter().enumerate();
    events.map(|(index, span)| (head.sequence + index as u64, text(span), attempt(index))).collect()
}

fn take(entries: &mut Entries, id: u64, now: Instant) -> Vec<(u64, String, u32)> {
    take_some(entries, id, 100, now)
}

fn names(taken: &[(u64, String, u32)]) -> Vec<&str> {
    taken.iter().map(|(_, name, _)| name.as_str()).collect()
}

fn failure() -> Failure {
    Failure { reason: "no".to_owned(), delay: None, is_final: false }
}

#[test]
fn members_share_and_an_idle_one_is_told() {
    let (mut entries, now) = (reliable(), Instant::now());
    let (one, other) = (join(&mut entries, 1), join(&mut entries, 2));
    assert!(take(&mut entries, 1, now).is_empty());
    assert!(take(&mut entries, 2, now).is_empty());
    push(&mut entries, "a", None);
    let told = || (one.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed));
    assert_eq!(told(), (1, 0), "the one that was idle for longest, and no other");
    push(&mut entries, "b", None);
    assert_eq!(told(), (1, 1));
    assert_eq!(names(&take(&mut entries, 1, now)), ["a", "b"]);
    assert!(take(&mut entries, 2, now).is_empty());
    assert_eq!((entries.load.events, entries.in_flight()), (0, 2));
}

#[test]
fn one_that_leaves_work_behind_has_another_told() {
    let (mut entries, now) = (reliable(), Instant::now());
    let (_, other) = (join(&mut entries, 1), join(&mut entries, 2));
    take(&mut entries, 2, now);
    take(&mut entries, 1, now);
    push(&mut entries, "a", None);
    push(&mut entries, "b", None);
    push(&mut entries, "c", None);
    let before = other.0.load(Ordering::Relaxed);
    assert_eq!(take_some(&mut entries, 2, 1, now).len(), 1);
    assert_eq!(take_some(&mut entries, 1, 1, now).len(), 1);
    assert!(entries.shared.len() == 1 && other.0.load(Ordering::Relaxed) == before);
    take(&mut entries, 2, now);
    assert!(take(&mut entries, 2, now).is_empty());
    push(&mut entries, "d", None);
    push(&mut entries, "e", None);
    take_some(&mut entries, 1, 1, now);
    assert_eq!(other.0.load(Ordering::Relaxed), before + 1);
}

#[test]
fn what_is_handled_is_done_and_twice_changes_nothing() {
    let (mut entries, now) = (reliable(), Instant::now());
    join(&mut entries, 1);
    push(&mut entries, "a", None);
    push(&mut entries, "b", None);
    let taken = take(&mut entries, 1, now);
    assert_eq!(taken, [(1, "a".to_owned(), 1), (2, "b".to_owned(), 1)]);
    assert!(matches!(entries.handled(MemberId(1), 2), Settled::Done(Outcome::Handled)));
    assert!(matches!(entries.handled(MemberId(1), 2), Settled::Done(Outcome::Unchanged)));
    assert!(
        matches!(entries.failed(MemberId(1), 2, failure(), now), Settled::Done(_)),
        "it was handled before"
    );
    assert!(matches!(entries.handled(MemberId(1), 1), Settled::Done(_)));
    assert_eq!(entries.load, Load::default());
    for unknown in [0, 3, u64::MAX] {
        assert!(matches!(entries.handled(MemberId(1), unknown), Settled::Unknown), "{unknown}");
        assert!(matches!(entries.in_progress(MemberId(1), unknown.max(3), now), Settled::Unknown));
    }
    assert!(matches!(entries.handled(MemberId(9), 1), Settled::Unknown));
}

#[test]
fn what_fails_comes_again_after_growing_pauses_and_is_given_up() {
    let (mut entries, start) = (reliable(), Instant::now());
    join(&mut entries, 1);
    push(&mut entries, "a", None);
    let mut now = start;
    for (attempt, pause) in [(1, 1), (2, 2)] {
        let (number, _, told) = take(&mut entries, 1, now).remove(0);
        assert_eq!(told, attempt);
        assert!(matches!(entries.failed(MemberId(1), number, failure(), now), Settled::Again));
        assert_eq!(entries.load.events, 1, "it waits");
        let due = now + Duration::from_secs(pause);
        assert!(entries.on_time(due - Duration::from_millis(1)).given_up.is_empty());
        assert!(take(&mut entries, 1, now).is_empty());
        entries.on_time(due);
        now = due;
    }
    let (number, _, attempt) = take(&mut entries, 1, now).remove(0);
    assert_eq!(attempt, 3);
    let Settled::GivenUp(given_up) = entries.failed(MemberId(1), number, failure(), now) else { panic!() };
    assert_eq!(
        (given_up.cause, given_up.reason.as_str(), given_up.entry.attempts),
        (Cause::MaxAttempts, "no", 3)
    );
    assert_eq!(given_up.entry.first_delivered, Some(start));
    assert_eq!((entries.load, entries.in_flight()), (Load::default(), 0));
}

#[test]
fn a_handler_may_ask_for_a_pause_or_for_none_ever() {
    let (mut entries, now) = (reliable(), Instant::now());
    join(&mut entries, 1);
    push(&mut entries, "a", None);
    push(&mut entries, "b", None);
    take(&mut entries, 1, now);
    let later = Failure { delay: Some(Duration::from_secs(60)), ..failure() };
    assert!(matches!(entries.failed(MemberId(1), 1, later, now), Settled::Again));
    entries.deadlines.clear();
    assert_eq!(entries.next_due(), Some(now + Duration::from_secs(60)));
    let never = Failure { is_final: true, ..failure() };
    let Settled::GivenUp(given_up) = entries.failed(MemberId(1), 2, never, now) else { panic!() };
    assert_eq!(given_up.cause, Cause::Rejected);
}

#[test]
fn silence_is_a_failure_unless_the_handler_says_that_it_is_at_it() {
    let (mut entries, start) = (reliable(), Instant::now());
    join(&mut entries, 1);
    push(&mut entries, "a", None);
    push(&mut entries, "b", None);
    take(&mut entries, 1, start);
    let seconds = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(entries.next_due(), Some(seconds(30)));
    assert!(matches!(entries.in_progress(MemberId(1), 2, seconds(20)), Settled::Done(_)));
    assert_eq!(entries.on_time(seconds(30)).overdue, 1);
    assert_eq!(entries.on_time(seconds(30)).overdue, 0);
    assert_eq!(take(&mut entries, 1, seconds(30)), [(3, "a".to_owned(), 2)]);
    assert_eq!(entries.next_due(), Some(seconds(50)));
    assert_eq!(entries.on_time(seconds(50)).overdue, 1);
    assert_eq!(take(&mut entries, 1, seconds(50)), [(4, "b".to_owned(), 2)]);
    assert!(matches!(entries.handled(MemberId(1), 1), Settled::Done(_)), "too late, and no harm");
    assert_eq!(entries.in_flight(), 2);
}

#[test]
fn a_key_has_one_event_in_flight_and_waits_for_it() {
    let (mut entries, now) = (reliable(), Instant::now());
    join(&mut entries, 1);
    for (event, key) in [("k1", Some(7)), ("k2", Some(7)), ("x", None), ("k3", Some(7)), ("l1", Some(8))] {
        push(&mut entries, event, key);
    }
    assert_eq!(names(&take(&mut entries, 1, now)), ["k1", "x", "l1"]);
    assert!(matches!(entries.failed(MemberId(1), 1, failure(), now), Settled::Again));
    assert!(take(&mut entries, 1, now).is_empty(), "k2 waits behind k1");
    entries.on_time(now + Duration::from_secs(1));
    assert_eq!(names(&take(&mut entries, 1, now)), ["k1"]);
    entries.handled(MemberId(1), 4);
    assert_eq!(names(&take(&mut entries, 1, now)), ["k2"]);
    let never = Failure { is_final: true, ..failure() };
    assert!(matches!(entries.failed(MemberId(1), 5, never, now), Settled::GivenUp(_)));
    assert_eq!(names(&take(&mut entries, 1, now)), ["k3"], "a given up one does not block its key");
}

#[test]
fn a_key_goes_on_without_a_failed_event_if_it_should() {
    let skipping = Redelivery { blocks_key: false, ..redelivery() };
    let mut entries = Entries::new(Bounds { events: 10, bytes: 1000 }, Overflow::Block, Some(skipping), None);
    let now = Instant::now();
    join(&mut entries, 1);
    push(&mut entries, "k1", Some(7));
    push(&mut entries, "k2", Some(7));
    take(&mut entries, 1, now);
    entries.failed(MemberId(1), 1, failure(), now);
    assert_eq!(names(&take(&mut entries, 1, now)), ["k2"]);
    entries.on_time(now + Duration::from_secs(1));
    assert_eq!(names(&take(&mut entries, 1, now)), ["k1"]);
}

#[test]
fn a_key_belongs_to_a_member_and_moves_when_that_is_gone() {
    let (mut entries, now) = (lossy(Overflow::Block), Instant::now());
    entries.bounds.events = 1000;
    (1..=3).for_each(|id| drop(join(&mut entries, id)));
    let mut holders = BTreeMap::<u64, BTreeSet<u64>>::new();
    let deal = |entries: &mut Entries, holders: &mut BTreeMap<u64, BTreeSet<u64>>, members: &[u64]| {
        (0..30).for_each(|key| assert_eq!(push(entries, &key.to_string(), Some(key)), 0));
        for member in members {
            for (_, name, _) in take(entries, *member, now) {
                holders.entry(name.parse().unwrap()).or_default().insert(*member);
            }
        }
    };
    deal(&mut entries, &mut holders, &[1, 2, 3]);
    deal(&mut entries, &mut holders, &[3, 2, 1]);
    assert!(holders.values().all(|members| members.len() == 1), "{holders:?}");
    let all: BTreeSet<_> = holders.values().flatten().copied().collect();
    assert_eq!(all.len(), 3, "nobody is left out");
    entries.leave(MemberId(2));
    let mut after = BTreeMap::new();
    deal(&mut entries, &mut after, &[1, 3]);
    for (key, members) in holders {
        if !members.contains(&2) {
            assert_eq!(after[&key], members, "keys of those who stay do not move");
        }
    }
}

#[test]
fn what_a_lost_member_was_at_goes_to_others_in_order() {
    let (mut entries, now) = (reliable(), Instant::now());
    join(&mut entries, 1);
    ["a", "b", "c"].iter().for_each(|event| assert_eq!(push(&mut entries, event, None), 0));
    take_some(&mut entries, 1, 2, now);
    let other = join(&mut entries, 2);
    assert_eq!(names(&take(&mut entries, 2, now)), ["c"]);
    assert!(take(&mut entries, 2, now).is_empty());
    assert!(entries.leave(MemberId(1)).is_empty());
    assert_eq!(other.0.load(Ordering::Relaxed), 1);
    assert_eq!(take(&mut entries, 2, now), [(2, "a".to_owned(), 2), (3, "b".to_owned(), 2)]);
    // It kills whoever touches it: that ends after the third time.
    entries.leave(MemberId(2));
    join(&mut entries, 3);
    assert_eq!(names(&take(&mut entries, 3, now)), ["a", "b", "c"]);
    let given_up = entries.leave(MemberId(3));
    assert_eq!(given_up.len(), 2);
    assert_eq!(given_up[0].entry.event, "a");
    assert_eq!(entries.load.events, 1);
}

#[test]
fn one_that_closes_answers_for_what_it_has() {
    let (mut entries, now) = (reliable(), Instant::now());
    join(&mut entries, 1);
    push(&mut entries, "k1", Some(7));
    push(&mut entries, "k2", Some(7));
    assert_eq!(names(&take(&mut entries, 1, now)), ["k1"]);
    entries.close(MemberId(1));
    assert!(!entries.has_members());
    join(&mut entries, 2);
    assert!(take(&mut entries, 2, now).is_empty(), "k1 is still being handled");
    assert!(matches!(entries.handled(MemberId(1), 1), Settled::Done(_)));
    assert_eq!(names(&take(&mut entries, 2, now)), ["k2"]);
    assert_eq!(entries.members.len(), 1, "nothing is left of it");
}

#[test]
fn what_is_too_much_is_dropped_and_told() {
    let now = Instant::now();
    for (overflow, left) in [(Overflow::DropOldest, ["c", "d", "e"]), (Overflow::DropNewest, ["a", "b", "c"])]
    {
        let mut entries = lossy(overflow);
        join(&mut entries, 1);
        let dropped: usize =
            ["a", "b", "c", "d", "e"].iter().map(|event| push(&mut entries, event, None)).sum();
        assert_eq!(dropped, 2);
        let parcel = entries.take(MemberId(1), Budget { events: 10, bytes: 1000 }, now);
        assert_eq!(parcel.gap, 2);
        push(&mut entries, "f", None);
        assert_eq!(entries.take(MemberId(1), Budget { events: 10, bytes: 1000 }, now).gap, 0);
        let mut entries = lossy(overflow);
        join(&mut entries, 1);
        ["a", "b", "c", "d", "e"].iter().for_each(|event| assert!(push(&mut entries, event, None) < 2));
        assert_eq!(names(&take(&mut entries, 1, now)), left);
    }
}

/// What may happen to a subscription.
#[derive(Clone, Debug)]
enum Step {
    Push(Option<u64>),
    Take(u64, usize),
    Handled(u64),
    Failed(u64),
    Time(u64),
    Leave(u64),
    Close(u64),
    Join(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let member = || 1u64..4;
    prop_oneof![
        4 => prop::option::of(0u64..3).prop_map(Step::Push),
        4 => (member(), 1usize..5).prop_map(|(member, most)| Step::Take(member, most)),
        4 => member().prop_map(Step::Handled),
        2 => member().prop_map(Step::Failed),
        2 => (0u64..40).prop_map(Step::Time),
        1 => member().prop_map(Step::Leave),
        1 => member().prop_map(Step::Close),
        2 => member().prop_map(Step::Join),
    ]
}

proptest! {
    /// Whatever happens: no event is lost, none of a key overtakes another, no key is at two places, and the sums are right.
    #[test]
    fn nothing_is_lost_and_keys_stay_in_order(steps in prop::collection::vec(step(), 1..200)) {
        let mut entries = Entries::new(
            Bounds { events: 1000, bytes: 1 << 20 },
            Overflow::Block,
            Some(Redelivery { max_attempts: 1000, ..redelivery() }),
            None,
        );
        let mut now = Instant::now();
        let (mut pushed, mut done) = (0u64, BTreeSet::new());
        let mut held: BTreeMap<u64, BTreeMap<u64, (u64, Option<u64>)>> = BTreeMap::new();
        let mut last_done: BTreeMap<u64, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Push(key) => {
                    pushed += 1;
                    let name = format!("{pushed}:{}", key.map_or("-".to_owned(), |key| key.to_string()));
                    push(&mut entries, &name, key);
                }
                Step::Join(id) if !entries.members.contains_key(&MemberId(id)) => {
                    held.remove(&id);
                    drop(join(&mut entries, id));
                }
                Step::Take(id, most) => {
                    for (number, name, _) in take_some(&mut entries, id, most, now) {
                        let (event, key) = name.split_once(':').unwrap();
                        let (event, key) = (event.parse::<u64>().unwrap(), key.parse::<u64>().ok());
                        if let Some(key) = key {
                            let elsewhere = held.values().flat_map(BTreeMap::values).any(|(_, other)| *other == Some(key));
                            prop_assert!(!elsewhere, "key {key} is at two places");
                            prop_assert!(last_done.get(&key).is_none_or(|last| *last < event), "key {key} is out of order");
                        }
                        held.entry(id).or_default().insert(number, (event, key));
                    }
                }
                Step::Handled(id) => {
                    if let Some((number, (event, key))) = held.entry(id).or_default().pop_last() {
                        let settled = entries.handled(MemberId(id), number);
                        prop_assert!(matches!(settled, Settled::Done(_)));
                        prop_assert!(done.insert(event));
                        if let Some(key) = key {
                            last_done.insert(key, event);
                        }
                    }
                }
                Step::Failed(id) => {
                    if let Some((number, _)) = held.entry(id).or_default().pop_first() {
                        let settled = entries.failed(MemberId(id), number, failure(), now);
                        prop_assert!(matches!(settled, Settled::Again));
                    }
                }
                Step::Time(seconds) => {
                    now += Duration::from_secs(seconds);
                    prop_assert!(entries.on_time(now).given_up.is_empty());
                    for (id, numbers) in &mut held {
                        let member = entries.members.get_mut(&MemberId(*id));
                        match member {
                            Some(member) => numbers.retain(|number, _| member.window.get_mut(*number).is_some()),
                            None => numbers.clear(),
                        }
                    }
                }
                Step::Leave(id) => {
                    prop_assert!(entries.leave(MemberId(id)).is_empty());
                    held.remove(&id);
                }
                Step::Close(id) => entries.close(MemberId(id)),
                Step::Join(_) => {}
            }
            let held = held.values().map(BTreeMap::len).sum::<usize>();
            prop_assert_eq!(entries.in_flight(), held);
            prop_assert_eq!(entries.load.events + held + done.len(), pushed as usize);
        }
        // In the end somebody handles all that is left.
        now += Duration::from_secs(10_000);
        entries.on_time(now);
        (1..4).for_each(|id| drop(entries.leave(MemberId(id))));
        join(&mut entries, 9);
        while let [(number, name, _), ..] = take_some(&mut entries, 9, 1, now).as_slice() {
            prop_assert!(done.insert(name.split_once(':').unwrap().0.parse::<u64>().unwrap()));
            entries.handled(MemberId(9), *number);
        }
        prop_assert_eq!(done.len(), pushed as usize);
        prop_assert_eq!(entries.load, Load::default());
        prop_assert!(entries.keys.is_empty() && entries.in_flight() == 0);
    }
}
