//! Hosts that share topics, against a real nats-server.

mod server;

use std::time::Duration;

use plugmesh::event::v1::bus_frame::Frame as Told;
use plugmesh::event::v1::{Ack, Delivery, EventResult, Overflow, Start, Subscription, start::At};
use tokio::runtime::Handle;
use tonic::Code;

use self::server::Server;
use super::super::participant::Permissions;
use super::super::peer::{Peer, events, group, names, to};
use super::super::redrive::Redrive;
use super::super::*;
use crate::config::{EventsConfig, NatsConfig};

/// A host that keeps what begins with "order." on a server.
async fn open(server: &Server) -> Events {
    open_with(server, |_| {}).await
}

async fn open_with(server: &Server, change: impl FnOnce(&mut NatsConfig)) -> Events {
    let mut nats = NatsConfig::new([server.url()]).topic("order.>".parse().unwrap());
    change(&mut nats);
    let config = EventsConfig { nats: Some(nats), ..EventsConfig::default() };
    Events::open(&config, &Handle::current()).await.unwrap()
}

async fn peer(events: &Events) -> Peer {
    Peer::connect_with(events.bus(), Permissions::default(), events.defaults().clone()).await
}

fn from(at: At, what: Subscription) -> Subscription {
    Subscription { start: Some(Start { at: Some(at) }), ..what }
}

fn spilled() -> Subscription {
    Subscription { overflow: Overflow::Spill as i32, ..to("order.>") }
}

/// The next so many events that a peer gets: ids and places.
async fn delivered(peer: &mut Peer, count: usize) -> (Vec<String>, Vec<u64>) {
    let (mut ids, mut places) = (Vec::new(), Vec::new());
    while ids.len() < count {
        match peer.told().await {
            Told::Delivery(Delivery { events, places: at, .. }) => {
                ids.extend(events.into_iter().map(|event| event.id));
                places.extend(at);
            }
            Told::Credit(_) => {}
            told => panic!("{told:?}"),
        }
    }
    (ids, places)
}

/// Starts a server, or says why not and ends the test.
macro_rules! server {
    () => {
        server!("")
    };
    ($config:expr) => {
        match Server::start($config) {
            Some(server) => server,
            None => return,
        }
    };
}

// Behind the macro, which it uses.
mod changes;

#[tokio::test]
async fn what_one_host_publishes_comes_to_those_who_are_live_on_another() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut publisher, mut here, mut there) = (peer(&one).await, peer(&one).await, peer(&other).await);
    here.subscribe(1, to("order.*"), 100).await;
    there.subscribe(1, to("order.placed"), 100).await;
    let sent =
        [events("order.placed", 0..3), events("order.paid", 3..4), events("order.placed", 4..5)].concat();
    publisher.publish(1, Ack::Durable, &sent);
    assert_eq!(publisher.published().await, (1, vec![]));
    assert_eq!(delivered(&mut here, 5).await, (names(&[0, 1, 2, 3, 4]), vec![1, 2, 3, 4, 5]));
    assert_eq!(delivered(&mut there, 4).await, (names(&[0, 1, 2, 4]), vec![1, 2, 3, 5]));
    let mut publisher = peer(&other).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 5..6));
    assert_eq!(publisher.published().await, (1, vec![]));
    assert_eq!(delivered(&mut here, 1).await, (names(&[5]), vec![6]));
    assert_eq!(delivered(&mut there, 1).await, (names(&[5]), vec![6]));
}

#[tokio::test]
async fn an_event_that_was_published_on_another_host_is_known() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut first, mut second) = (peer(&one).await, peer(&other).await);
    first.publish(1, Ack::Durable, &events("order.placed", 0..2));
    assert_eq!(first.published().await, (1, vec![]));
    second.publish(1, Ack::Durable, &events("order.placed", 1..3));
    let duplicate = EventResult { index: 0, duplicate: true, ..EventResult::default() };
    assert_eq!(second.published().await, (1, vec![duplicate]));
}

#[tokio::test]
async fn a_topic_that_is_no_subject_is_refused() {
    let server = server!();
    let bus = open(&server).await;
    let mut publisher = peer(&bus).await;
    let sent = [events("order.placed by mail", 0..1), events("order.placed", 1..2)].concat();
    publisher.publish(1, Ack::Durable, &sent);
    let (_, results) = publisher.published().await;
    assert_eq!(results.len(), 1, "{results:?}");
    assert_eq!((results[0].index, results[0].code), (0, Code::InvalidArgument as i32));
    assert!(results[0].message.contains("cannot be kept in NATS"), "{results:?}");
}

#[tokio::test]
async fn who_publishes_waits_for_the_handlers_of_its_host() {
    let server = server!();
    let bus = open(&server).await;
    let (mut publisher, mut handler) = (peer(&bus).await, peer(&bus).await);
    handler.subscribe(1, group("order.>", "billing"), 100).await;
    publisher.publish(1, Ack::Handled, &events("order.placed", 0..2));
    let (first, ids) = handler.delivered().await;
    assert_eq!(ids[0], "0");
    let mut handled: Vec<_> = (first..first + ids.len() as u64).collect();
    if ids.len() == 1 {
        handled.push(handler.delivered().await.0);
    }
    assert_eq!(publisher.told_by_now().await, None);
    handler.acknowledge(1, handled, vec![]);
    assert_eq!(publisher.published().await, (1, vec![]));
}

#[tokio::test]
async fn what_is_in_the_stream_is_read_from_its_beginning_and_then_live() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut publisher, mut late) = (peer(&one).await, peer(&other).await);
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..300));
    assert_eq!(publisher.published().await, (1, vec![]));
    late.subscribe(1, from(At::Beginning(true), spilled()), 10_000).await;
    let ids: Vec<_> = (0..300).collect();
    assert_eq!(delivered(&mut late, 300).await.0, names(&ids));
    publisher.publish(2, Ack::Durable, &events("order.placed", 300..301));
    assert_eq!(delivered(&mut late, 1).await, (names(&[300]), vec![301]));
    let mut later = peer(&other).await;
    later.subscribe(1, from(At::AfterId("297".to_owned()), spilled()), 10_000).await;
    assert_eq!(delivered(&mut later, 3).await.1, [299, 300, 301]);
}

#[tokio::test]
async fn a_server_that_is_killed_loses_nothing_and_the_tail_goes_on() {
    let mut server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut publisher, mut there) = (peer(&one).await, peer(&other).await);
    there.subscribe(1, to("order.>"), 10_000).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..100));
    assert_eq!(publisher.published().await, (1, vec![]));
    server.kill();
    publisher.publish(2, Ack::Durable, &events("order.placed", 100..110));
    let (_, refused) = publisher.published().await;
    assert_eq!(refused.len(), 10);
    assert!(refused.iter().all(|result| result.code == Code::Unavailable as i32), "{refused:?}");
    server.restart();
    // What was refused may have been kept, and is known by its id then.
    let mut frame = 3;
    loop {
        publisher.publish(frame, Ack::Durable, &events("order.placed", 100..110));
        let (_, results) = publisher.published().await;
        frame += 1;
        if results.iter().all(|result| result.code == 0) {
            break;
        }
    }
    let (ids, places) = delivered(&mut there, 110).await;
    let mut sorted: Vec<u32> = ids.iter().map(|id| id.parse().unwrap()).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..110).collect::<Vec<_>>(), "each of them, and none twice");
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(tokio::time::timeout(Duration::ZERO, there.told()).await.ok(), None);
}

fn durable(name: &str) -> Subscription {
    Subscription { durable_name: name.to_owned(), ..to("order.>") }
}

/// Takes events until there are no more for a while, or as many, and acknowledges them. Gives their ids.
async fn handle(peer: &mut Peer, count: usize) -> Vec<String> {
    let mut handled = Vec::new();
    while handled.len() < count {
        let (first, ids) = peer.delivered().await;
        peer.acknowledge(1, (first..first + ids.len() as u64).collect(), vec![]);
        handled.extend(ids);
    }
    handled
}

#[tokio::test]
async fn a_durable_name_goes_on_where_it_was_on_another_host() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut publisher, mut here) = (peer(&one).await, peer(&one).await);
    here.subscribe(1, durable("billing.eu"), 100).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..5));
    assert_eq!(publisher.published().await, (1, vec![]));
    assert_eq!(handle(&mut here, 5).await, names(&[0, 1, 2, 3, 4]));
    // What it said was read.
    assert_eq!(here.told_by_now().await, None);
    drop((here, publisher));
    one.close().await;
    let (mut publisher, mut there) = (peer(&other).await, peer(&other).await);
    publisher.publish(1, Ack::Durable, &events("order.placed", 5..7));
    assert_eq!(publisher.published().await, (1, vec![]));
    there.subscribe(1, durable("billing.eu"), 100).await;
    assert_eq!(handle(&mut there, 2).await, names(&[5, 6]));
}

#[tokio::test]
async fn members_of_a_durable_name_on_two_hosts_share_its_events_and_lose_none_of_a_host_that_is_gone() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut publisher, mut here) = (peer(&other).await, peer(&one).await);
    here.subscribe(1, durable("billing"), 10).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..20));
    assert_eq!(publisher.published().await, (1, vec![]));
    // It has ten, and answers for three of them. Nobody hears of that before it is saved.
    let mut first = Vec::new();
    while first.len() < 10 {
        first.extend(here.delivered().await.1);
    }
    here.acknowledge(1, vec![1, 2, 3], vec![]);
    while one.statistics().subscriptions[0].lag > 17 {
        tokio::task::yield_now().await;
    }
    let stream = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = stream.get_stream("plugmesh").await.unwrap();
    while stream.consumer_info("billing").await.unwrap().num_ack_pending > 17 {
        tokio::task::yield_now().await;
    }
    let mut there = peer(&other).await;
    there.subscribe(1, durable("billing"), 1000).await;
    // As a host that was killed: nothing is given back.
    std::mem::forget(here);
    drop(one);
    let mut got = handle(&mut there, 17).await;
    got.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(got, names(&(3..20).collect::<Vec<_>>()));
}

#[tokio::test]
async fn a_dead_letter_holds_the_event_and_is_seen_on_both_hosts() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut publisher, mut here) = (peer(&one).await, peer(&one).await);
    here.subscribe(1, durable("billing"), 10).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..1));
    assert_eq!(publisher.published().await, (1, vec![]));
    let (number, _) = here.delivered().await;
    let nack = plugmesh::event::v1::Nack {
        sequence: number,
        reason: "no such customer".to_owned(),
        give_up: true,
        ..Default::default()
    };
    here.acknowledge(1, vec![], vec![nack]);
    let letters = loop {
        let letters = other.bus().dead_letters.page(None, 0, 10).await.unwrap().letters;
        if !letters.is_empty() {
            break letters;
        }
        tokio::task::yield_now().await;
    };
    let letter = &letters[0].letter;
    assert_eq!((letter.subscription.as_str(), letter.reason.as_str()), ("billing", "no such customer"));
    let event = plugmesh::cloudevents::EventRef::check(&letter.event).unwrap();
    assert_eq!((event.event_type(), event.id(), event.source()), ("order.placed", "0", "/test"));
    // Redriven on the other host, handled there, and gone from both.
    let mut there = peer(&other).await;
    there.subscribe(1, durable("billing"), 10).await;
    assert_eq!(
        other.bus().redrive(&[letters[0].id], None).await.unwrap(),
        Redrive { count: 1, problems: vec![] }
    );
    assert_eq!(handle(&mut there, 1).await, names(&[0]));
    while !one.bus().dead_letters.page(None, 0, 10).await.unwrap().letters.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_publishes_to_a_server_that_does_not_answer_is_told_and_nothing_acknowledged_is_lost() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut publisher, mut there) = (peer(&one).await, peer(&other).await);
    there.subscribe(1, to("order.>"), 10_000).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..10));
    assert_eq!(publisher.published().await, (1, vec![]));
    server.signal("STOP");
    publisher.publish(2, Ack::Durable, &events("order.placed", 10..12));
    let (_, refused) = publisher.published().await;
    let codes: Vec<_> = refused.iter().map(|result| result.code).collect();
    assert_eq!(codes, [Code::Unavailable as i32; 2], "{refused:?}");
    server.signal("CONT");
    let mut frame = 3;
    loop {
        publisher.publish(frame, Ack::Durable, &events("order.placed", 10..12));
        frame += 1;
        if publisher.published().await.1.iter().all(|result| result.code == 0) {
            break;
        }
    }
    let (mut ids, _) = delivered(&mut there, 12).await;
    ids.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(ids, names(&(0..12).collect::<Vec<_>>()));
}

#[tokio::test]
async fn what_a_member_leaves_behind_goes_to_another_host_at_once() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let (mut publisher, mut here) = (peer(&one).await, peer(&one).await);
    here.subscribe(1, durable("billing"), 100).await;
    publisher.publish(1, Ack::Durable, &events("order.placed", 0..5));
    assert_eq!(publisher.published().await, (1, vec![]));
    let mut got = Vec::new();
    while got.len() < 5 {
        got.extend(here.delivered().await.1);
    }
    here.acknowledge(1, vec![1, 2], vec![]);
    let mut there = peer(&other).await;
    there.subscribe(1, durable("billing"), 100).await;
    drop(here);
    let mut rest = handle(&mut there, 3).await;
    rest.sort();
    assert_eq!(rest, names(&[2, 3, 4]));
}
