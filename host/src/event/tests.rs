//! Durable topics, through participants and a real journal.

use std::path::Path;
use std::time::Duration;

use plugmesh::event::v1::bus_frame::Frame as Told;
use plugmesh::event::v1::{Ack, Delivery, EventResult, Nack, Overflow, Start, Subscription, start::At};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tonic::Code;

use super::local::EventBus;
use super::participant::Permissions;
use super::peer::{Peer, event, events, group, names, to};
use super::redrive::Redrive;
use super::*;
use crate::config::{EventsConfig, Fsync, JournalConfig, TopicConfig};

/// A bus whose journal keeps what begins with "order.".
async fn open(directory: &Path) -> Events {
    let topic = TopicConfig { fsync: Fsync::Os, ..TopicConfig::new("order.>".parse().unwrap()) };
    open_with(JournalConfig::new(directory.join("events.db")).topic(topic)).await
}

async fn open_with(journal: JournalConfig) -> Events {
    let config = EventsConfig { journal: Some(journal), ..EventsConfig::default() };
    Events::open(&config, &Handle::current()).await.unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn peer(events: &Events) -> Peer {
    Peer::connect_with(events.bus(), Permissions::default(), events.defaults().clone()).await
}

fn durable(name: &str) -> Subscription {
    Subscription { durable_name: name.to_owned(), ..to("order.>") }
}

fn from(at: At, what: Subscription) -> Subscription {
    Subscription { start: Some(Start { at: Some(at) }), ..what }
}

/// The next delivery: ids, places, and how often each was delivered.
async fn delivered(peer: &mut Peer) -> (Vec<String>, Vec<u64>) {
    match peer.told().await {
        Told::Delivery(Delivery { events, places, .. }) => {
            (events.into_iter().map(|event| event.id).collect(), places)
        }
        told => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn what_is_published_is_recorded_and_then_delivered_in_order() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let (mut publisher, mut one, mut all) = (peer(&bus).await, peer(&bus).await, peer(&bus).await);
    one.subscribe(1, durable("billing"), 10).await;
    all.subscribe(1, to(">"), 10).await;
    let sent =
        [events("order.placed", 0..2), events("user.login", 2..3), events("order.paid", 3..4)].concat();
    publisher.publish(7, Ack::Unspecified, &sent);
    assert_eq!(publisher.published().await, (7, vec![]));
    let mut got = Vec::new();
    while got.len() < 4 {
        got.extend(delivered(&mut all).await.0);
    }
    assert_eq!(got, names(&[0, 1, 2, 3]), "the order of the publisher, over all topics");
    let (mut ids, mut places) = (Vec::new(), Vec::new());
    while ids.len() < 3 {
        let (some, at) = delivered(&mut one).await;
        ids.extend(some);
        places.extend(at);
    }
    assert_eq!((ids, places), (names(&[0, 1, 3]), vec![1, 2, 3]));
}

#[tokio::test]
async fn a_durable_name_goes_on_where_it_was_after_a_restart() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let (mut publisher, mut one) = (peer(&bus).await, peer(&bus).await);
    one.subscribe(1, durable("billing"), 100).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..5));
    assert_eq!(publisher.published().await, (1, vec![]));
    assert_eq!(one.delivered().await, (1, names(&[0, 1, 2, 3, 4])));
    one.acknowledge(1, vec![1, 2, 4], vec![]);
    assert_eq!(one.told_by_now().await, None);
    drop(one);
    publisher.publish(2, Ack::Durable, &events("order.placed", 5..7));
    assert_eq!(publisher.published().await, (2, vec![]));
    drop(publisher);
    bus.close().await;
    drop(bus);

    let bus = open(directory.path()).await;
    let mut one = peer(&bus).await;
    one.subscribe(1, durable("billing"), 100).await;
    let (ids, places) = delivered(&mut one).await;
    assert_eq!((ids, places), (names(&[2, 4, 5, 6]), vec![3, 5, 6, 7]));
}

#[tokio::test]
async fn what_nobody_takes_waits_in_the_journal() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let (mut publisher, mut one) = (peer(&bus).await, peer(&bus).await);
    one.subscribe(1, Subscription { queue: 10, ..durable("billing") }, 5).await;
    for part in 0..20 {
        publisher.publish(
            part,
            Ack::Durable,
            &events("order.placed", 10 * part as u32..10 * (part as u32 + 1)),
        );
        assert_eq!(publisher.published().await.1, []);
    }
    let queued = bus.bus().subscriptions()[0].load().0;
    assert!(queued <= 10, "{queued} wait in memory");
    one.credit(1, 1000);
    let mut got = Vec::new();
    while got.len() < 200 {
        let (first, ids) = one.delivered().await;
        one.acknowledge(1, (first..first + ids.len() as u64).collect(), vec![]);
        got.extend(ids);
    }
    assert_eq!(got, names(&(0..200).collect::<Vec<_>>()));
    // And then as they come.
    publisher.publish(99, Ack::Durable, &events("order.placed", 200..201));
    assert_eq!(one.delivered().await.1, names(&[200]));
}

#[tokio::test]
async fn an_event_that_is_published_twice_is_recorded_once_even_after_a_restart() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let mut publisher = peer(&bus).await;
    let twice = [events("order.placed", 0..2), events("order.placed", 1..3)].concat();
    publisher.publish(1, Ack::Durable, &twice);
    let duplicate = |index| EventResult { index, duplicate: true, ..EventResult::default() };
    assert_eq!(publisher.published().await, (1, vec![duplicate(2)]));
    publisher.publish(2, Ack::Durable, &events("order.placed", 0..1));
    assert_eq!(publisher.published().await, (2, vec![duplicate(0)]));
    drop(publisher);
    bus.close().await;
    drop(bus);

    let bus = open(directory.path()).await;
    let mut publisher = peer(&bus).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 2..4));
    assert_eq!(publisher.published().await, (1, vec![duplicate(0)]));
    let mut reader = peer(&bus).await;
    reader.subscribe(1, from(At::Beginning(true), durable("all")), 100).await;
    assert_eq!(delivered(&mut reader).await, (names(&[0, 1, 2, 3]), vec![1, 2, 3, 4]));
}

#[tokio::test]
async fn one_may_begin_anywhere() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let mut publisher = peer(&bus).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..3));
    publisher.published().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let between = std::time::SystemTime::now();
    publisher.publish(2, Ack::Durable, &events("order.placed", 3..6));
    publisher.published().await;
    let places = [
        (At::Beginning(true), 0),
        (At::Time(between.into()), 3),
        (At::AfterPlace(2), 2),
        (At::AfterId("4".to_owned()), 5),
        (At::End(true), 6),
    ];
    for (number, (at, first)) in places.into_iter().enumerate() {
        let mut reader = peer(&bus).await;
        let spilling = Subscription { overflow: Overflow::Spill as i32, ..to("order.>") };
        let what = if number % 2 == 0 { durable(&format!("n{number}")) } else { spilling };
        reader.subscribe(1, from(at.clone(), what), 100).await;
        if first < 6 {
            let expected: Vec<_> = (first..6).collect();
            assert_eq!(reader.delivered().await.1, names(&expected), "{at:?}");
        }
        assert_eq!(reader.told_by_now().await, None, "{at:?}");
    }
    let mut reader = peer(&bus).await;
    let what = from(At::AfterId("99".to_owned()), durable("n99"));
    reader.send_subscribe(1, what, 100);
    match reader.told().await {
        Told::Unsubscribed(refused) => assert_eq!(refused.code, Code::NotFound as i32, "{refused:?}"),
        told => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn what_is_asked_of_a_journal_must_be_of_its_topics() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let mut peer = peer(&bus).await;
    let cases = [
        (
            Subscription { durable_name: "x".to_owned(), ..to(">") },
            Code::FailedPrecondition,
            "within one of order.>",
        ),
        (from(At::Beginning(true), to("order.>")), Code::InvalidArgument, "SPILL"),
        (
            Subscription { durable_name: "x".to_owned(), ..group("order.>", "y") },
            Code::InvalidArgument,
            "leave out `group`",
        ),
        (
            Subscription { overflow: Overflow::DropOldest as i32, ..durable("x") },
            Code::InvalidArgument,
            "does not drop",
        ),
        (
            Subscription { durable_name: "a b".to_owned(), ..to("order.>") },
            Code::InvalidArgument,
            "without spaces",
        ),
    ];
    for (number, (what, code, part)) in (1..).zip(cases) {
        peer.send_subscribe(number, what, 1);
        match peer.told().await {
            Told::Unsubscribed(refused) => {
                assert_eq!(Code::from_i32(refused.code), code, "{refused:?}");
                assert!(refused.message.contains(part), "{refused:?}");
            }
            told => panic!("{told:?}"),
        }
    }
    peer.publish(1, Ack::Durable, &[event("user.login", "1"), event("order.placed", "2")]);
    let (_, results) = peer.published().await;
    assert_eq!((results.len(), results[0].code), (1, Code::FailedPrecondition as i32), "{results:?}");
}

#[tokio::test]
async fn dead_letters_outlive_the_host_and_can_be_delivered_again() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let (mut publisher, mut one) = (peer(&bus).await, peer(&bus).await);
    one.subscribe(1, durable("billing"), 100).await;
    publisher.publish(1, Ack::Handled, &events("order.placed", 0..2));
    assert_eq!(one.delivered().await, (1, names(&[0, 1])));
    let never = Nack { sequence: 1, reason: "no such order".to_owned(), give_up: true, ..Nack::default() };
    one.acknowledge(1, vec![2], vec![never]);
    let (_, results) = publisher.published().await;
    assert_eq!(results[0].given_up, ["billing"]);
    drop((one, publisher));
    bus.close().await;
    drop(bus);

    let bus = open(directory.path()).await;
    let letters = bus.bus().dead_letters.page(Some("billing"), 0, 10).await.unwrap().letters;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].letter.reason.as_str(), letters[0].letter.place), ("no such order", Some(1)));
    let mut one = peer(&bus).await;
    one.subscribe(1, durable("billing"), 100).await;
    assert_eq!(bus.bus().redrive_all("billing").await.unwrap(), Redrive { count: 1, problems: vec![] });
    assert_eq!(one.delivered().await, (1, names(&[0])), "the other was handled, and does not come again");
    let hidden = bus.bus().dead_letters.page(None, 0, 10).await.unwrap().letters;
    assert!(hidden.is_empty(), "it is with its subscription");
    // The host ends before it is handled: the letter is there again.
    drop(one);
    bus.close().await;
    drop(bus);

    let bus = open(directory.path()).await;
    let mut one = peer(&bus).await;
    one.subscribe(1, durable("billing"), 100).await;
    let Redrive { count, problems } = bus.bus().redrive_all("billing").await.unwrap();
    assert_eq!((count, problems.len()), (1, 0), "{problems:?}");
    let (number, _) = one.delivered().await;
    one.acknowledge(1, vec![number], vec![]);
    assert_eq!(one.told_by_now().await, None);
    bus.close().await;
    drop((one, bus));

    let bus = open(directory.path()).await;
    assert!(bus.bus().dead_letters.page(None, 0, 10).await.unwrap().letters.is_empty(), "it was handled");
}

#[tokio::test]
async fn a_durable_name_can_be_deleted_when_nobody_uses_it() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let mut one = peer(&bus).await;
    one.subscribe(1, durable("billing"), 100).await;
    let code = |result: Result<(), (Code, String)>| result.map_err(|(code, _)| code);
    assert_eq!(code(bus.bus().delete("billing").await), Err(Code::FailedPrecondition));
    assert_eq!(code(bus.bus().delete("nobody").await), Err(Code::NotFound));
    one.leave().await;
    assert_eq!(code(bus.bus().delete("billing").await), Ok(()));
    bus.close().await;
    drop(bus);
    let bus = open(directory.path()).await;
    assert!(bus.bus().subscriptions().is_empty());
}

#[tokio::test]
async fn what_was_deleted_before_it_was_read_is_told() {
    let directory = directory();
    let topic = TopicConfig { max_events: Some(50), ..TopicConfig::new("order.>".parse().unwrap()) };
    let journal = JournalConfig::new(directory.path().join("events.db")).topic(topic);
    let bus = open_with(journal).await;
    let (mut publisher, mut one) = (peer(&bus).await, peer(&bus).await);
    one.subscribe(1, Subscription { queue: 10, ..durable("billing") }, 0).await;
    for part in 0..40 {
        publisher.publish(
            part,
            Ack::Durable,
            &events("order.placed", 10 * part as u32..10 * (part as u32 + 1)),
        );
        assert_eq!(publisher.published().await.1, []);
    }
    // What is kept is cut at times.
    while bus.bus().durable().unwrap().log.stats().await.unwrap().events > 60 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    one.credit(1, 1000);
    let (mut got, mut dropped) = (Vec::new(), 0);
    while got.last().map(String::as_str) != Some("399") {
        match one.told().await {
            Told::Gap(gap) => dropped += gap.dropped as usize,
            Told::Delivery(delivery) => {
                let numbers = delivery.sequence..delivery.sequence + delivery.events.len() as u64;
                one.acknowledge(1, numbers.collect(), vec![]);
                got.extend(delivery.events.into_iter().map(|event| event.id));
            }
            told => panic!("{told:?}"),
        }
    }
    assert_eq!(got.len() + dropped, 400, "each event was delivered, or told to be gone");
    assert!(dropped >= 300, "{dropped}");
}

#[tokio::test]
async fn the_program_itself_takes_part_without_a_stream() {
    let directory = directory();
    let bus = open(directory.path()).await;
    let program = EventBus::new(bus.clone(), "shop");
    let mut all = program.subscribe(to(">")).await.unwrap();
    let mut orders = program.subscribe(durable("orders")).await.unwrap();
    let mut elsewhere = peer(&bus).await;
    elsewhere.subscribe(1, to("user.*"), 10).await;
    let outcomes =
        program.publish_all(&[event("user.login", "1"), event("order.placed", "2")], Ack::Unspecified).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(elsewhere.delivered().await.1, names(&[1]));
    let (first, second) = (all.next().await.unwrap().unwrap(), all.next().await.unwrap().unwrap());
    assert_eq!((first.event.id(), first.place), ("1", None));
    assert_eq!((second.event.id(), second.place), ("2", Some(1)));
    let order = orders.next().await.unwrap().unwrap();
    orders.failed(order.number, "busy", Some(Duration::from_millis(1)));
    let again = orders.next().await.unwrap().unwrap();
    assert_eq!((again.event.id(), again.attempt), ("2", 2));
    orders.handled([again.number]);
    assert!(program.publish_with_retry(&event("order.placed", "2"), Ack::Durable).await.unwrap().duplicate);
    let refused = program.publish(&event("user.login", "3"), Ack::Durable).await.unwrap_err();
    assert!(!refused.is_transient() && refused.to_string().contains("events.journal.topics"), "{refused}");
    let refused = program.subscribe(to("a..b")).await.unwrap_err();
    assert!(refused.to_string().contains("empty token"), "{refused}");
    bus.drain(Duration::from_secs(1)).await;
    assert!(all.next().await.unwrap().is_none(), "the host goes");
}
