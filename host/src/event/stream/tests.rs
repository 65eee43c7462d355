//! Participants on a bus, frame by frame.

use plugmesh::event::v1::bus_frame::Frame as Told;
use plugmesh::event::v1::{Nack, Overflow, Redelivery, Subscribe, Subscription};
use tokio::time::Instant;

use super::super::bus::Limits;
use super::super::participant::{Permissions, Until};
use super::super::peer::{Peer, bus, bus_with, defaults, event, events, group, names, to};
use super::super::redrive::Redrive;
use super::*;

#[tokio::test(start_paused = true)]
async fn events_go_to_all_who_want_them_and_have_credit() {
    let bus = bus();
    let (mut publisher, mut one, mut other) =
        (Peer::connect(&bus).await, Peer::connect(&bus).await, Peer::connect(&bus).await);
    one.subscribe(1, to("user.*"), 2).await;
    other.subscribe(7, to("user.login"), 0).await;
    let sent =
        [events("user.login", 0..3), events("user.logout", 3..4), events("order.placed", 4..5)].concat();
    publisher.publish(5, Ack::Accepted, &sent);
    assert_eq!(publisher.published().await, (5, vec![]));
    assert_eq!(one.delivered().await, (1, names(&[0, 1])));
    assert_eq!(one.told_by_now().await, None, "its credit is used up");
    one.credit(1, 10);
    assert_eq!(one.delivered().await, (3, names(&[2, 3])));
    assert_eq!(other.told_by_now().await, None);
    other.credit(7, 100);
    assert_eq!(other.delivered().await, (1, names(&[0, 1, 2])));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_an_event_is_told_of_that_event() {
    let bus = bus();
    let allowed: Arc<[_]> = ["user.>".parse().unwrap()].into();
    let permissions = Permissions { publish: Some(allowed), subscribe: None };
    let mut publisher = Peer::connect_as(&bus, permissions).await;
    let mut subscriber = Peer::connect(&bus).await;
    subscriber.subscribe(1, to(">"), 10).await;
    let mut sent: Vec<_> = events("user.login", 0..4).iter().map(|event| event.decode().unwrap()).collect();
    sent[1].id.clear();
    sent[2].r#type = "order.placed".to_owned();
    publisher.send(Frame::Publish(Publish { events: sent, sequence: 1, ..Publish::default() }));
    let (_, results) = publisher.published().await;
    let told: Vec<_> = results.iter().map(|result| (result.index, Code::from_i32(result.code))).collect();
    assert_eq!(told, [(1, Code::InvalidArgument), (2, Code::PermissionDenied)]);
    assert!(results[0].message.contains("`id` is missing"), "{}", results[0].message);
    assert!(results[1].message.contains("\"order.placed\""), "{}", results[1].message);
    assert_eq!(subscriber.delivered().await.1, names(&[0, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_full_subscription_that_blocks_holds_back_its_publishers_alone() {
    let bus = bus();
    let (mut publisher, mut free, mut slow) =
        (Peer::connect(&bus).await, Peer::connect(&bus).await, Peer::connect(&bus).await);
    slow.subscribe(1, Subscription { queue: 2, ..to("a") }, 0).await;
    publisher.publish(1, Ack::Accepted, &events("a", 0..5));
    assert_eq!(publisher.told_by_now().await, None, "there is room for two");
    // Somebody else's events pass.
    free.publish(1, Ack::Accepted, &events("b", 0..5));
    assert_eq!(free.published().await, (1, vec![]));
    slow.credit(1, 4);
    assert_eq!(slow.delivered().await.1, names(&[0, 1]));
    assert_eq!(slow.delivered().await.1, names(&[2, 3]));
    assert_eq!(publisher.published().await, (1, vec![]));
    // What finds no room in time is given back.
    publisher.publish(2, Ack::Accepted, &events("a", 5..9));
    let (sequence, results) = publisher.published().await;
    assert_eq!(sequence, 2);
    let told: Vec<_> = results.iter().map(|result| (result.index, Code::from_i32(result.code))).collect();
    assert_eq!(told, [1, 2, 3].map(|index| (index, Code::ResourceExhausted)));
    slow.credit(1, 10);
    assert_eq!(slow.delivered().await.1, names(&[4, 5]));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_himself() {
    let bus = bus();
    let mut peer = Peer::connect(&bus).await;
    peer.subscribe(1, Subscription { queue: 2, ..to("a") }, 0).await;
    let began = Instant::now();
    peer.publish(1, Ack::Accepted, &events("a", 0..3));
    let (_, results) = peer.published().await;
    assert_eq!(results.len(), 1);
    assert!(results[0].message.contains("would wait for itself"), "{}", results[0].message);
    assert_eq!(Instant::now(), began);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_told_before_the_next_delivery() {
    let bus = bus();
    let (mut publisher, mut subscriber) = (Peer::connect(&bus).await, Peer::connect(&bus).await);
    for (overflow, left) in [(Overflow::DropOldest, [3, 4]), (Overflow::DropNewest, [0, 1])] {
        let number = overflow as u64;
        let what = Subscription { queue: 2, overflow: overflow as i32, ..to(&format!("a{number}")) };
        subscriber.subscribe(number, what, 0).await;
        publisher.publish(1, Ack::Accepted, &events(&format!("a{number}"), 0..5));
        publisher.published().await;
        subscriber.credit(number, 10);
        let told = subscriber.told().await;
        assert_eq!(told, Told::Gap(plugmesh::event::v1::Gap { subscription: number, dropped: 3 }));
        assert_eq!(subscriber.delivered().await.1, names(&left));
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_may_wait_for_the_handlers() {
    let bus = bus();
    let (mut publisher, mut one, mut other) =
        (Peer::connect(&bus).await, Peer::connect(&bus).await, Peer::connect(&bus).await);
    one.subscribe(1, group("a", "billing"), 10).await;
    other.subscribe(1, group("a", "audit"), 10).await;
    publisher.publish(1, Ack::Handled, &events("a", 0..2));
    one.delivered().await;
    other.delivered().await;
    one.acknowledge(1, vec![1, 2], vec![]);
    other.acknowledge(1, vec![2], vec![]);
    assert_eq!(publisher.told_by_now().await, None);
    let never = Nack { sequence: 1, reason: "no such user".to_owned(), give_up: true, ..Nack::default() };
    other.acknowledge(1, vec![], vec![never]);
    let (_, results) = publisher.published().await;
    let expected = EventResult { index: 0, given_up: vec!["audit".to_owned()], ..EventResult::default() };
    assert_eq!(results, [expected]);
    let letters = bus.dead_letters.page(None, 0, 10).await.unwrap().letters;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (&*letters[0].letter.subscription, letters[0].letter.reason.as_str()),
        ("audit", "no such user")
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_stream_was_at_is_delivered_to_another() {
    let bus = bus();
    let (publisher, mut one) = (Peer::connect(&bus).await, Peer::connect(&bus).await);
    one.subscribe(1, group("a", "billing"), 10).await;
    publisher.publish(1, Ack::Accepted, &events("a", 0..3));
    assert_eq!(one.delivered().await, (1, names(&[0, 1, 2])));
    one.acknowledge(1, vec![2], vec![]);
    assert_eq!(one.told_by_now().await, None);
    drop(one);
    tokio::time::sleep(Duration::from_secs(29)).await;
    // The group is still there, for a member that comes back.
    let mut other = Peer::connect(&bus).await;
    other.subscribe(4, group("a", "billing"), 10).await;
    let Told::Delivery(delivery) = other.told().await else { panic!("no delivery") };
    assert_eq!(delivery.events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["0", "2"]);
    assert_eq!(delivery.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [2, 2]);
    drop(other);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(bus.subscriptions().is_empty(), "nobody came back");
}

#[tokio::test(start_paused = true)]
async fn a_failed_event_comes_again_after_a_pause() {
    let bus = bus();
    let (publisher, mut peer) = (Peer::connect(&bus).await, Peer::connect(&bus).await);
    let twice = Redelivery { max_attempts: 2, ..Redelivery::default() };
    peer.subscribe(1, Subscription { redelivery: Some(twice), ..group("a", "billing") }, 10).await;
    publisher.publish(1, Ack::Accepted, &events("a", 0..1));
    peer.delivered().await;
    let began = Instant::now();
    peer.acknowledge(1, vec![], vec![Nack { sequence: 1, reason: "busy".to_owned(), ..Nack::default() }]);
    assert_eq!(peer.delivered().await, (2, names(&[0])));
    assert_eq!(began.elapsed().as_secs(), 1);
    // And nobody answers for it in time.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let letters = bus.dead_letters.page(Some("billing"), 0, 10).await.unwrap().letters;
    assert_eq!(
        (letters[0].letter.attempts, letters[0].letter.reason.as_str()),
        (2, "not acknowledged within 30s")
    );
}

#[tokio::test(start_paused = true)]
async fn as_many_dead_letters_are_redriven_as_there_is_room_for() {
    let bus = bus();
    let (publisher, mut peer) = (Peer::connect(&bus).await, Peer::connect(&bus).await);
    peer.subscribe(1, Subscription { queue: 2, ..group("a", "billing") }, 10).await;
    for first in [0, 2] {
        publisher.publish(1, Ack::Accepted, &events("a", first..first + 2));
        let (number, _) = peer.delivered().await;
        let never = |sequence| Nack { sequence, give_up: true, ..Nack::default() };
        peer.acknowledge(1, vec![], vec![never(number), never(number + 1)]);
        assert_eq!(peer.told_by_now().await, None);
    }
    let full = |what: &str| format!("{what}: billing is full; try again when it has handled what it has");
    let Redrive { count, problems } = bus.redrive_all("billing").await.unwrap();
    assert_eq!((count, problems), (2, vec![full("3 and later ones")]));
    let Redrive { count, problems } = bus.redrive(&[1, 3, 9], None).await.unwrap();
    let expected = vec![
        "1: it is with billing already".to_owned(),
        full("3"),
        "9: there is no such dead letter".to_owned(),
    ];
    assert_eq!((count, problems), (0, expected));
    let (number, ids) = peer.delivered().await;
    assert_eq!(ids, names(&[0, 1]));
    peer.acknowledge(1, vec![number, number + 1], vec![]);
    assert_eq!(peer.told_by_now().await, None);
    let other = bus.redrive(&[3], Some("audit")).await.unwrap();
    assert_eq!(other.problems, ["3: there is no such dead letter"]);
    assert_eq!(bus.dead_letters.purge(Some("audit"), &[3]).await.unwrap(), 0);
    assert_eq!(bus.dead_letters.purge(None, &[3, 9]).await.unwrap(), 1);
    assert_eq!(bus.redrive_all("billing").await.unwrap(), Redrive { count: 1, problems: vec![] });
    assert_eq!(peer.delivered().await.1, names(&[3]));
    assert_eq!(bus.dead_letters.purge(Some("billing"), &[]).await.unwrap(), 0, "it is with its subscription");
}

#[tokio::test(start_paused = true)]
async fn answers_for_nothing_are_told_and_end_nothing() {
    let bus = bus();
    let (publisher, mut peer) = (Peer::connect(&bus).await, Peer::connect(&bus).await);
    peer.subscribe(1, group("a", "billing"), 10).await;
    peer.acknowledge(1, vec![9], vec![]);
    let Told::Problem(problem) = peer.told().await else { panic!() };
    assert_eq!(
        (Code::from_i32(problem.code), problem.subscription, problem.sequence),
        (Code::NotFound, 1, 9)
    );
    peer.acknowledge(2, vec![1], vec![]);
    assert!(matches!(peer.told().await, Told::Problem(problem) if problem.subscription == 2));
    peer.epoch += 1;
    peer.acknowledge(1, vec![1], vec![]);
    let Told::Problem(problem) = peer.told().await else { panic!() };
    assert_eq!(Code::from_i32(problem.code), Code::FailedPrecondition);
    peer.epoch -= 1;
    publisher.publish(1, Ack::Accepted, &events("a", 0..1));
    assert_eq!(peer.delivered().await.1, names(&[0]));
    peer.acknowledge(1, vec![1], vec![]);
    peer.acknowledge(1, vec![1], vec![]);
    assert_eq!(peer.told_by_now().await, None, "twice is no problem");
}

#[tokio::test(start_paused = true)]
async fn a_bad_subscription_is_refused_by_its_number() {
    let bus = bus();
    let allowed: Arc<[_]> = ["user.*".parse().unwrap()].into();
    let mut peer = Peer::connect_as(&bus, Permissions { publish: None, subscribe: Some(allowed) }).await;
    let durable = Subscription { durable_name: "billing".to_owned(), ..to("user.login") };
    peer.subscribe(1, to("user.login"), 1).await;
    for (number, what, code, part) in [
        (0, to("user.login"), Code::InvalidArgument, "not 0"),
        (1, to("user.login"), Code::AlreadyExists, "is there already"),
        (2, to("user..login"), Code::InvalidArgument, "empty token"),
        (3, Subscription::default(), Code::InvalidArgument, "1 to 64 patterns"),
        (4, to("user.>"), Code::PermissionDenied, "\"user.>\""),
        (5, durable, Code::FailedPrecondition, "keeps no journal"),
        (6, Subscription { queue: 1_000_000, ..to("user.login") }, Code::InvalidArgument, "at most 100000"),
    ] {
        peer.send(Frame::Subscribe(Subscribe { subscription: number, what: Some(what), credit: None }));
        let Told::Unsubscribed(refusal) = peer.told().await else { panic!("{number}") };
        assert_eq!((refusal.subscription, Code::from_i32(refusal.code)), (number, code));
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_unsubscribes_gets_nothing_more() {
    let bus = bus();
    let (mut publisher, mut peer) = (Peer::connect(&bus).await, Peer::connect(&bus).await);
    peer.subscribe(1, to("a"), 10).await;
    peer.send(Frame::Unsubscribe(plugmesh::event::v1::Unsubscribe { subscription: 1 }));
    assert!(matches!(peer.told().await, Told::Unsubscribed(told) if told.code == 0));
    publisher.publish(1, Ack::Accepted, &events("a", 0..1));
    publisher.published().await;
    assert_eq!(peer.told_by_now().await, None);
    assert!(bus.subscriptions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_makes_no_sense_ends_and_the_bus_goes_on() {
    let limits = Limits { publish_events: 2, frame_bytes: 1000, frame_events: 3, ..Limits::default() };
    let bus = bus_with(limits);
    let mut slow = Peer::connect(&bus).await;
    slow.subscribe(1, Subscription { queue: 1, ..to("full") }, 0).await;
    let too_many = events("a", 0..4);
    for (what, code) in [
        ("bytes", Code::InvalidArgument),
        ("large", Code::ResourceExhausted),
        ("many", Code::InvalidArgument),
        ("credit", Code::ResourceExhausted),
        ("cut", Code::Internal),
    ] {
        let mut peer = Peer::connect(&bus).await;
        match what {
            "bytes" => peer.send_bytes([0, 0, 0, 0, 2, 0xff, 0xff].as_slice().to_vec()),
            "large" => peer.send_bytes([0, 0, 0, 4, 0].as_slice().to_vec()),
            "many" => peer.publish(1, Ack::None, &too_many),
            "credit" => (0..3).for_each(|sequence| peer.publish(sequence, Ack::None, &events("full", 0..2))),
            _ => {
                peer.send_bytes([0, 0, 0, 0, 9, 1].as_slice().to_vec());
                peer.sender = None;
            }
        }
        let ended = (&mut peer.reader).await.unwrap().unwrap_err();
        assert_eq!(ended.code(), code, "{what}: {ended}");
    }
    // It is still there for others.
    let mut peer = Peer::connect(&bus).await;
    peer.publish(1, Ack::Accepted, &events("b", 0..1));
    assert_eq!(peer.published().await, (1, vec![]));
}

/// What a stream of the bus ends with.
async fn end_of(peer: Peer) -> Result<Option<String>, Status> {
    let mut outgoing = Outgoing::new(peer.participant, peer.reader);
    drop(peer.sender);
    loop {
        match poll_fn(|cx| Pin::new(&mut outgoing).poll_frame(cx)).await {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    return Ok(Some(trailers["grpc-status"].to_str().unwrap().to_owned()));
                }
            }
            Some(Err(status)) => return Err(status),
            None => return Ok(None),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_publisher_has_sent_all() {
    let bus = bus();
    let peer = Peer::connect(&bus).await;
    peer.publish(1, Ack::Accepted, &events("a", 0..1));
    assert_eq!(end_of(peer).await.unwrap().as_deref(), Some("0"));
    assert_eq!(bus.participants(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_goes_ends_every_stream() {
    let bus = bus();
    let (mut peer, idle) = (Peer::connect(&bus).await, Peer::connect(&bus).await);
    peer.subscribe(1, to("a"), 10).await;
    idle.publish(1, Ack::Accepted, &events("a", 0..1));
    let waiting = tokio::spawn(end_of(peer));
    assert_eq!(bus.participants(), 2);
    bus.drain(Duration::from_secs(5)).await;
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), Code::Unavailable);
    let late =
        Participant::new(bus.clone(), "late".into(), Permissions::default(), defaults(), Until::HostEnds);
    assert!(poll_fn(|cx| late.poll_message(cx)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_is_at_an_event_when_the_host_goes_may_answer_for_it() {
    let bus = bus();
    let (publisher, mut peer) = (Peer::connect(&bus).await, Peer::connect(&bus).await);
    peer.subscribe(1, group("a", "billing"), 10).await;
    publisher.publish(1, Ack::Accepted, &events("a", 0..2));
    peer.delivered().await;
    let grace = Duration::from_secs(5);
    let draining = tokio::spawn({
        let bus = bus.clone();
        async move { bus.drain(grace).await }
    });
    let Told::Draining(told) = peer.told().await else { panic!("not told") };
    assert_eq!(told.grace.unwrap().seconds, 5);
    publisher.publish(2, Ack::Accepted, &events("a", 2..3));
    assert_eq!(peer.told_by_now().await, None, "nothing is delivered any more");
    peer.acknowledge(1, vec![1], vec![]);
    assert_eq!(peer.told_by_now().await, None);
    assert!(!draining.is_finished());
    peer.acknowledge(1, vec![2], vec![]);
    draining.await.unwrap();
    // And one that does not answer holds it up for as long as that and no longer.
    let mut peer = Peer::connect_until(&bus, Until::Detached).await;
    peer.subscribe(1, group("a", "billing"), 10).await;
    peer.delivered().await;
    let began = Instant::now();
    peer.participant.drain(grace).await;
    assert_eq!(began.elapsed(), grace);
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_nothing_is_durable() {
    let bus = bus();
    let mut peer = Peer::connect(&bus).await;
    peer.publish(1, Ack::Durable, &events("a", 0..2));
    let (_, results) = peer.published().await;
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| Code::from_i32(result.code) == Code::FailedPrecondition));
}

#[tokio::test(start_paused = true)]
async fn credit_is_exact_however_much_is_published() {
    let limits = Limits { publish_events: 8, publish_bytes: 200, ..Limits::default() };
    let bus = bus_with(limits);
    let mut peer = Peer::connect(&bus).await;
    let event = event("a", "1");
    let size = event.bytes().len() as u64;
    let (mut events, mut bytes) = (8, 200);
    for sequence in 0..100 {
        while events == 0 || bytes < size {
            match peer.told().await {
                Told::Credit(credit) => (events, bytes) = (events + credit.events, bytes + credit.bytes),
                Told::Published(_) => {}
                told => panic!("{told:?}"),
            }
        }
        (events, bytes) = (events - 1, bytes - size);
        peer.publish(sequence, Ack::None, std::slice::from_ref(&event));
    }
    assert!(peer.told_by_now().await.is_some() && !peer.reader.is_finished());
}
