//! Histories by hand: one in which nothing is wrong although everybody is killed, and what each rule says when it is broken.

use super::*;
use crate::history::{Fact, Incarnation, Kept, Record, Seen};

const P: Who = Who::Publisher(Incarnation { index: 0, life: 0 });
const P2: Who = Who::Publisher(Incarnation { index: 0, life: 1 });
const A: Who = Who::Member(Incarnation { index: 0, life: 0 });
const B: Who = Who::Member(Incarnation { index: 1, life: 0 });

/// Hosts.
const ONE: u32 = 100;
const TWO: u32 = 200;

/// The event with this id: its key is the first letter.
fn seen(id: &str) -> Seen {
    Seen { id: id.to_owned(), key: id[..1].to_owned(), digest: 7 }
}

fn publishing(id: &str) -> Fact {
    Fact::Publishing(seen(id))
}

fn accepted(id: &str) -> Fact {
    Fact::Accepted { id: id.to_owned(), duplicate: false }
}

fn duplicate(id: &str) -> Fact {
    Fact::Accepted { id: id.to_owned(), duplicate: true }
}

fn delivered(number: u64, id: &str) -> Fact {
    Fact::Delivered { number, attempt: 1, event: seen(id) }
}

fn handled(number: u64) -> Fact {
    Fact::Handled { number }
}

fn connected(host: u32) -> Fact {
    Fact::Connected { host }
}

/// What was done, one after the other, and what the journal held in the end.
fn history(facts: Vec<(Who, Fact)>, journal: &[&str]) -> History {
    let records = (1..).zip(facts).map(|(at, (who, fact))| Record { at, who, fact }).collect();
    let journal = (1..).zip(journal).map(|(place, id)| Kept { place, event: seen(id) }).collect();
    History { records, journal }
}

/// Two events of a key and one of another, published and handled by two members without any trouble.
fn calm() -> Vec<(Who, Fact)> {
    vec![
        (A, connected(ONE)),
        (B, connected(ONE)),
        (P, publishing("a1")),
        (P, publishing("a2")),
        (P, publishing("b1")),
        (P, accepted("a1")),
        (P, accepted("a2")),
        (P, accepted("b1")),
        (A, delivered(1, "a1")),
        (B, delivered(1, "b1")),
        (A, handled(1)),
        (A, delivered(2, "a2")),
        (B, handled(1)),
        (A, handled(2)),
    ]
}

const CALM: [&str; 3] = ["a1", "a2", "b1"];

fn position(facts: &[(Who, Fact)], wanted: &(Who, Fact)) -> usize {
    facts.iter().position(|fact| fact == wanted).unwrap()
}

/// The calm history, but for one line.
fn without(line: (Who, Fact)) -> Vec<(Who, Fact)> {
    let mut facts = calm();
    facts.remove(position(&facts, &line));
    facts
}

#[test]
fn a_calm_history_is_sound() {
    assert_eq!(check(&history(calm(), &CALM)), []);
}

#[test]
fn deaths_make_nothing_wrong() {
    let facts = vec![
        (A, connected(ONE)),
        (B, connected(ONE)),
        (P, publishing("a1")),
        (P, publishing("a2")),
        (P, accepted("a1")),
        // The member dies between handling and acknowledgement, and the other has it then.
        (A, delivered(1, "a1")),
        (A, Fact::Killing(A)),
        (B, delivered(1, "a1")),
        (B, handled(1)),
        (B, delivered(2, "a2")),
        // The host dies while it is handled, and its acknowledgement comes to nobody.
        (Who::Runner, Fact::HostDead { host: ONE }),
        (B, handled(2)),
        (B, Fact::Lost),
        (P, Fact::Unanswered { id: "a2".to_owned() }),
        (Who::Runner, Fact::Killing(P)),
        (P2, publishing("a2")),
        (P2, duplicate("a2")),
        // What was not saved of it comes again, in order.
        (B, connected(TWO)),
        (B, delivered(1, "a1")),
        (B, Fact::Failed { number: 1 }),
        (B, delivered(2, "a1")),
        (B, handled(2)),
        (B, delivered(3, "a2")),
        (B, handled(3)),
    ];
    assert_eq!(check(&history(facts, &["a1", "a2"])), []);
}

#[test]
fn an_acknowledged_event_must_be_handled() {
    // Delivered and not handled.
    assert_eq!(check(&history(without((A, handled(2))), &CALM)), [Violation::Lost { id: "a2".to_owned() }]);
    // Handled for nobody: its host was dead.
    let mut facts = calm();
    facts.insert(facts.len() - 1, (Who::Runner, Fact::HostDead { host: ONE }));
    assert_eq!(check(&history(facts, &CALM)), [Violation::Lost { id: "a2".to_owned() }]);
    // One that was not acknowledged may go.
    let mut facts = without((P, accepted("b1")));
    facts.retain(|(who, _)| *who != B);
    assert_eq!(check(&history(facts, &CALM[..2])), []);
}

#[test]
fn only_what_was_published_may_be_delivered() {
    let mut facts = calm();
    facts.push((B, delivered(9, "c1")));
    let invented = Violation::Invented { id: "c1".to_owned(), at: facts.len() as u64 };
    assert_eq!(check(&history(facts, &CALM)), [Violation::NotKept { id: "c1".to_owned() }, invented]);
    let mut facts = calm();
    let changed = Seen { digest: 8, ..seen("b1") };
    let at = position(&facts, &(B, delivered(1, "b1")));
    facts[at].1 = Fact::Delivered { number: 1, attempt: 1, event: changed };
    let invented = Violation::Invented { id: "b1".to_owned(), at: at as u64 + 1 };
    assert_eq!(check(&history(facts, &CALM)), [invented]);
}

#[test]
fn an_event_waits_for_those_before_it() {
    let mut facts = calm();
    let (one, other) = (position(&facts, &(A, handled(1))), position(&facts, &(A, delivered(2, "a2"))));
    facts.swap(one, other);
    let at = one as u64 + 1;
    let early = Violation::EarlyDelivery { id: "a2".to_owned(), at, before: "a1".to_owned() };
    let twice = Violation::InFlightTwice {
        key: "a".to_owned(),
        one: ("a1".to_owned(), A),
        other: ("a2".to_owned(), A),
        at,
    };
    assert_eq!(check(&history(facts, &CALM)), [early, twice]);
    // One that was handled in vain, for a dead host, is still before it.
    let facts = vec![
        (P, publishing("a1")),
        (P, publishing("a2")),
        (A, connected(ONE)),
        (A, delivered(1, "a1")),
        (Who::Runner, Fact::HostDead { host: ONE }),
        (A, handled(1)),
        (A, connected(TWO)),
        (A, delivered(1, "a2")),
    ];
    let early = Violation::EarlyDelivery { id: "a2".to_owned(), at: 8, before: "a1".to_owned() };
    assert_eq!(check(&history(facts, &["a1", "a2"])), [early]);
}

#[test]
fn a_host_does_not_go_back() {
    let mut facts = calm();
    facts.push((B, delivered(2, "a1")));
    let back = Violation::WayBack { id: "a1".to_owned(), at: facts.len() as u64, after: "a2".to_owned() };
    assert_eq!(check(&history(facts, &CALM)), [back]);
    // The next one may have forgotten.
    let mut facts = calm();
    facts.extend([
        (Who::Runner, Fact::HostDead { host: ONE }),
        (B, connected(TWO)),
        (B, delivered(1, "a1")),
        (B, handled(1)),
    ]);
    assert_eq!(check(&history(facts, &CALM)), []);
}

#[test]
fn a_key_is_with_one_member_at_a_time() {
    let twice = |facts: &[(Who, Fact)]| {
        let violations = check(&history(facts.to_vec(), &["a1"]));
        violations.iter().any(|violation| matches!(violation, Violation::InFlightTwice { .. }))
    };
    let mut facts = vec![
        (P, publishing("a1")),
        (A, connected(ONE)),
        (B, connected(ONE)),
        (A, delivered(1, "a1")),
        (B, delivered(1, "a1")),
        (B, handled(1)),
        (A, handled(1)),
    ];
    assert!(twice(&facts));
    // Whatever ends the first one between them makes it sound.
    let ends = [
        (A, Fact::Failed { number: 1 }),
        (A, Fact::Lost),
        (A, Fact::Killing(A)),
        (Who::Runner, Fact::Killing(A)),
        (Who::Runner, Fact::HostDead { host: ONE }),
    ];
    for end in ends {
        let mut facts = facts.clone();
        facts.truncate(6);
        facts.insert(4, end.clone());
        assert!(!twice(&facts), "{end:?}");
    }
    // But not when it goes on writing after somebody was about to kill it.
    facts.insert(4, (Who::Runner, Fact::Killing(A)));
    assert!(twice(&facts));
    // And not what happens to somebody else.
    facts[4] = (Who::Runner, Fact::Killing(B));
    assert!(twice(&facts));
}

#[test]
fn the_journal_holds_each_event_once_in_the_order_of_its_publisher() {
    let id = |id: &str| id.to_owned();
    let wrong = |journal: &[&str]| check(&history(calm(), journal));
    assert_eq!(wrong(&["a1", "a2", "b1", "a1"]), [Violation::KeptTwice { id: id("a1") }]);
    assert_eq!(wrong(&["a1", "a2"]), [Violation::NotKept { id: id("b1") }]);
    assert_eq!(wrong(&["a1", "a2", "b1", "c1"]), [Violation::KeptWithoutCause { id: id("c1") }]);
    let out_of_order = Violation::KeptOutOfOrder { id: id("a2"), behind: id("b1") };
    assert_eq!(wrong(&["a1", "b1", "a2"]), [out_of_order]);
    let mut falling = history(calm(), &CALM);
    falling.journal[2].place = 2;
    assert_eq!(check(&falling), [Violation::PlaceDoesNotRise { place: 2 }]);
    let mut changed = history(calm(), &CALM);
    changed.journal[2].event.digest = 8;
    assert_eq!(check(&changed), [Violation::KeptWithoutCause { id: id("b1") }]);
    // One that was refused may come later.
    let mut facts = calm();
    facts.insert(5, (P, Fact::Refused { id: id("a2"), code: 14 }));
    assert_eq!(check(&history(facts, &["a1", "b1", "a2"])), []);
}

#[test]
fn duplicates_are_what_they_are_called() {
    let id = "b1".to_owned();
    let mut facts = without((P, accepted("b1")));
    facts.push((P, duplicate("b1")));
    assert_eq!(check(&history(facts, &CALM)), [Violation::FalseDuplicate { id: id.clone() }]);
    let mut facts = calm();
    facts.extend([(P, publishing("b1")), (P, accepted("b1"))]);
    assert_eq!(check(&history(facts, &CALM)), [Violation::NewTwice { id }]);
    let mut facts = calm();
    facts.extend([(P, publishing("b1")), (P, duplicate("b1"))]);
    assert_eq!(check(&history(facts, &CALM)), []);
}
