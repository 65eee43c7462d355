//! What hosts that share a server change: durable names, dead letters, the stream itself.

use async_nats::jetstream;
use plugmesh::event::v1::Nack;

use super::*;
use crate::config::ByteSize;

/// The answer to a subscription that is not to be.
async fn refused(peer: &mut Peer, what: Subscription) -> (i32, String) {
    peer.send_subscribe(9, what, 100);
    match peer.told().await {
        Told::Unsubscribed(told) => (told.code, told.message),
        told => panic!("{told:?}"),
    }
}

async fn published(bus: &Events, topic: &str, ids: std::ops::Range<u32>) {
    let mut publisher = peer(bus).await;
    publisher.publish(1, Ack::Durable, &events(topic, ids));
    assert_eq!(publisher.published().await, (1, vec![]));
}

#[tokio::test]
async fn a_durable_name_is_deleted_for_all_hosts() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    published(&one, "order.placed", 0..3).await;
    let mut here = peer(&one).await;
    here.subscribe(1, from(At::Beginning(true), durable("billing")), 100).await;
    assert_eq!(handle(&mut here, 3).await, names(&[0, 1, 2]));
    assert_eq!(one.bus().delete("billing").await.unwrap_err().0, Code::FailedPrecondition);
    let (code, message) = other.bus().delete("billing").await.unwrap_err();
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("in use on another host"), "{message}");
    drop(here);
    // The server hears a moment later that nobody asks any more.
    while let Err((code, message)) = other.bus().delete("billing").await {
        assert_eq!(code, Code::FailedPrecondition, "{message}");
    }
    assert_eq!(other.bus().delete("billing").await.unwrap_err().0, Code::NotFound);
    // It begins anew.
    let mut there = peer(&other).await;
    there.subscribe(1, from(At::Beginning(true), durable("billing")), 100).await;
    assert_eq!(handle(&mut there, 3).await, names(&[0, 1, 2]));
}

#[tokio::test]
async fn a_durable_name_wants_the_same_on_all_hosts() {
    let server = server!();
    let (one, other) = (open(&server).await, open(&server).await);
    let paid = || Subscription { durable_name: "billing".to_owned(), ..to("order.paid") };
    let (mut here, mut there) = (peer(&one).await, peer(&other).await);
    here.subscribe(1, durable("billing"), 100).await;
    published(&one, "order.placed", 0..2).await;
    assert_eq!(handle(&mut here, 2).await, names(&[0, 1]));
    let (code, message) = refused(&mut there, paid()).await;
    assert_eq!(code, Code::FailedPrecondition as i32);
    assert!(message.contains("on another host with other topics"), "{message}");
    there.subscribe(2, durable("billing"), 100).await;
    drop((here, there));
    // When nobody is there it goes on from where it was, with what is wanted now.
    let mut later = loop {
        let mut later = peer(&other).await;
        later.send_subscribe(1, paid(), 100);
        match later.told().await {
            Told::Subscribed(_) => break later,
            Told::Unsubscribed(told) => assert!(told.message.contains("on another host"), "{}", told.message),
            told => panic!("{told:?}"),
        }
    };
    published(&one, "order.placed", 2..3).await;
    published(&one, "order.paid", 3..4).await;
    assert_eq!(handle(&mut later, 1).await, names(&[3]));
}

#[tokio::test]
async fn what_waits_for_a_durable_name_is_its_lag() {
    let server = server!();
    let bus = open(&server).await;
    let mut member = peer(&bus).await;
    member.subscribe(1, Subscription { queue: 10, ..durable("billing") }, 5).await;
    published(&bus, "order.placed", 0..300).await;
    while bus.statistics().subscriptions[0].lag != 300 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn dead_letters_are_bounded() {
    let server = server!();
    let bus = open_with(&server, |nats| nats.max_dead_letters = 2).await;
    let mut here = peer(&bus).await;
    here.subscribe(1, durable("billing"), 10).await;
    published(&bus, "order.placed", 0..3).await;
    let mut given_up = 0;
    while given_up < 3 {
        let (number, ids) = here.delivered().await;
        let nack = |sequence| Nack { sequence, give_up: true, ..Nack::default() };
        here.acknowledge(1, vec![], (number..number + ids.len() as u64).map(nack).collect());
        given_up += ids.len();
    }
    let letters = loop {
        let letters = bus.bus().dead_letters.page(None, 0, 10).await.unwrap().letters;
        if letters.last().is_some_and(|letter| letter.id == 3) {
            break letters;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(letters.iter().map(|letter| letter.id).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(bus.bus().dead_letters.purge(None, &[2, 9]).await.unwrap(), 1);
    assert_eq!(bus.bus().dead_letters.purge(None, &[]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_without_room_says_so_to_publishers() {
    let server = server!("max_file_store: 1048576");
    // What dead letters may have is set aside.
    let bus = open_with(&server, |nats| nats.max_dead_letter_size = ByteSize::bytes(64 << 10)).await;
    let mut publisher = peer(&bus).await;
    let large = |id: u32| {
        let event = plugmesh::cloudevents::Event::builder("order.placed", "/test");
        event.id(&id.to_string()).data(vec![0; 100_000]).build().unwrap()
    };
    let mut refused = Vec::new();
    for id in 0..20 {
        publisher.publish(u64::from(id) + 1, Ack::Durable, &[large(id)]);
        refused.extend(publisher.published().await.1);
    }
    assert!((9..20).contains(&refused.len()), "{}", refused.len());
    for result in refused {
        assert_eq!(result.code, Code::ResourceExhausted as i32, "{}", result.message);
        assert!(result.message.contains("has no room"), "{}", result.message);
    }
}

#[tokio::test]
async fn a_stream_that_is_made_anew_is_told() {
    let server = server!();
    let one = open(&server).await;
    let (mut live, mut reader, mut named) = (peer(&one).await, peer(&one).await, peer(&one).await);
    live.subscribe(1, to("order.>"), 100).await;
    reader.subscribe(1, spilled(), 100).await;
    named.subscribe(1, durable("billing"), 100).await;
    published(&one, "order.placed", 0..5).await;
    assert_eq!(delivered(&mut live, 5).await.1, [1, 2, 3, 4, 5]);
    assert_eq!(delivered(&mut reader, 5).await.1, [1, 2, 3, 4, 5]);
    assert_eq!(handle(&mut named, 5).await.len(), 5);
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    context.delete_stream("plugmesh").await.unwrap();
    // Whoever starts makes it.
    let other = open(&server).await;
    published(&other, "order.placed", 5..7).await;
    assert_eq!(delivered(&mut live, 2).await, (names(&[5, 6]), vec![1, 2]));
    for (peer, code) in [(&mut reader, Code::DataLoss), (&mut named, Code::NotFound)] {
        match peer.told().await {
            Told::Unsubscribed(told) => assert_eq!(told.code, code as i32, "{}", told.message),
            told => panic!("{told:?}"),
        }
    }
    reader.subscribe(2, from(At::Beginning(true), spilled()), 100).await;
    assert_eq!(delivered(&mut reader, 2).await, (names(&[5, 6]), vec![1, 2]));
}

#[tokio::test]
async fn what_cannot_be_is_not_there() {
    let server = server!();
    let bus = open(&server).await;
    let letters = &bus.bus().dead_letters;
    assert!(letters.page(None, u64::MAX, 10).await.unwrap().letters.is_empty());
    for id in [0, 1, u64::MAX] {
        assert_eq!(letters.find(id).await.unwrap(), None);
    }
    let (code, _) = bus.bus().delete("").await.unwrap_err();
    assert_eq!(code, Code::NotFound);
}
