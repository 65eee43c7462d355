//! Events through the real daemon: from programs that use the SDK, and from grpcurl.

use plugmesh_sdk::events::{Ack, Event, EventError, Events, Mode, Overflow, Subscription};
use plugmesh_tests::{DEADLINE, Daemon, tools};
use rustix::process::Signal;
use tonic::Code;

const BUS: &str = "plugmesh.event.v1.EventBusService";

fn to(pattern: &str) -> Subscription {
    Subscription { patterns: vec![pattern.to_owned()], ..Subscription::default() }
}

fn reliable(pattern: &str, group: &str) -> Subscription {
    let members = Some(plugmesh::event::v1::subscription::Members::Group(group.to_owned()));
    Subscription { members, mode: Mode::AtLeastOnce as i32, ..to(pattern) }
}

fn event(topic: &str, id: &str) -> Event {
    Event::builder(topic, "/test").id(id).text("hello").build().unwrap()
}

async fn connect(daemon: &Daemon) -> Events {
    Events::connect(daemon.channel(), "a test").await.unwrap()
}

#[tokio::test]
async fn a_hundred_thousand_events_arrive_in_order() {
    const COUNT: u32 = 100_000;
    let daemon = Daemon::builder().start().await;
    let (publisher, other) = (connect(&daemon).await, connect(&daemon).await);
    let mut subscriber = other.subscribe(to("count.*")).await.unwrap();
    let publishing = tokio::spawn(async move {
        for number in 0..COUNT {
            publisher.publish(event("count.up", &number.to_string())).await.unwrap();
        }
        publisher.flush().await.unwrap();
    });
    for number in 0..COUNT {
        let delivered = subscriber.next().await.unwrap();
        assert_eq!((delivered.event.id(), delivered.dropped), (number.to_string().as_str(), 0));
    }
    publishing.await.unwrap();
}

#[tokio::test]
async fn what_is_not_handled_comes_again_and_ends_in_the_dead_letters() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = Daemon::builder().start().await;
    let (publisher, worker) = (connect(&daemon).await, connect(&daemon).await);
    let mut work = worker.subscribe(reliable("order.placed", "billing")).await.unwrap();
    let handled = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish_acknowledged(event("order.placed", "1"), Ack::Handled).await }
    });
    let first = work.next().await.unwrap();
    work.failed(first.number, "no connection", Some(std::time::Duration::from_millis(1)));
    let second = work.next().await.unwrap();
    assert_eq!((second.event.id(), second.attempt), ("1", 2));
    work.handled([second.number]);
    assert_eq!(handled.await.unwrap().unwrap().given_up, Vec::<String>::new());

    let mut told = worker.subscribe(to("plugmesh.dead_letter")).await.unwrap();
    let given_up = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish_acknowledged(event("order.placed", "2"), Ack::Handled).await }
    });
    let number = work.next().await.unwrap().number;
    work.rejected(number, "no such customer");
    assert_eq!(given_up.await.unwrap().unwrap().given_up, ["billing"]);
    // Who wants to know is told, by an event with the whole one in it.
    let about = told.next().await.unwrap().event;
    let text = |name: &str| about.attribute(name).unwrap().to_text().into_owned();
    assert_eq!(
        ["subject", "cause", "attempts", "reason"].map(text),
        ["billing", "REJECTED", "1", "no such customer"]
    );
    let whole: plugmesh::cloudevents::v1::CloudEvent = about.message().unwrap();
    assert_eq!((whole.id.as_str(), whole.r#type.as_str()), ("2", "order.placed"));
    let faked = publisher.publish_acknowledged(event("plugmesh.dead_letter", "3"), Ack::Accepted).await;
    assert!(
        matches!(&faked, Err(EventError::Refused(status)) if status.code() == Code::PermissionDenied),
        "{faked:?}"
    );
    let letters = daemon.grpcurl(&["-d", "{}", &format!("{BUS}/ListDeadLetters")]).await.json();
    assert_eq!(letters["letters"][0]["event"]["id"], "2");
    assert_eq!(letters["letters"][0]["reason"], "no such customer");
    let redrive = r#"{"subscription": "billing"}"#;
    let redriven = daemon.grpcurl(&["-d", redrive, &format!("{BUS}/RedriveDeadLetters")]).await.json();
    assert_eq!(redriven["count"], "1");
    assert_eq!(work.next().await.unwrap().event.id(), "2");
}

#[tokio::test]
async fn who_lets_go_of_its_stream_is_at_nothing_any_more() {
    let daemon = Daemon::builder().start().await;
    let (publisher, other) = (connect(&daemon).await, connect(&daemon).await);
    // The connection stays, which all of them share.
    let leaver = connect(&daemon).await;
    let hour = plugmesh::event::v1::Redelivery {
        ack_deadline: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    let what = Subscription { redelivery: Some(hour), ..reliable("order.placed", "billing") };
    let mut first = leaver.subscribe(what.clone()).await.unwrap();
    publisher.publish(event("order.placed", "1")).await.unwrap();
    assert_eq!(first.next().await.unwrap().attempt, 1);
    let mut second = other.subscribe(what).await.unwrap();
    drop((first, leaver));
    let again = tokio::time::timeout(DEADLINE, second.next()).await.expect("it is delivered again");
    assert_eq!(again.unwrap().attempt, 2);
}

#[tokio::test]
async fn a_refused_event_says_why_and_a_host_that_goes_ends_the_stream() {
    let daemon = Daemon::builder().start().await;
    let events = connect(&daemon).await;
    let large = Event::builder("a", "/test").data(vec![0; 2 << 20]).build().unwrap();
    match events.publish_acknowledged(large, Ack::Accepted).await.unwrap_err() {
        EventError::Refused(status) => {
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains("events.max_event_size"), "{}", status.message());
        }
        other => panic!("{other}"),
    }
    let bad = events.subscribe(to("a..b")).await.unwrap_err();
    assert!(bad.to_string().contains("empty token"), "{bad}");
    let dropping = Subscription { overflow: Overflow::DropOldest as i32, ..to("a") };
    let mut subscriber = events.subscribe(dropping).await.unwrap();
    let stopping = tokio::spawn(daemon.stop());
    let ended = subscriber.next().await.unwrap_err();
    assert!(matches!(&ended, EventError::Ended(status) if status.code() == Code::Unavailable), "{ended:?}");
    stopping.await.unwrap().ok();
}

#[tokio::test]
async fn of_a_stream_that_broke_only_what_nobody_else_gets_is_given() {
    let daemon = Daemon::builder().start().await;
    let (publisher, other) = (connect(&daemon).await, connect(&daemon).await);
    let mut work = other.subscribe(reliable("order.placed", "billing")).await.unwrap();
    let mut watch = other.subscribe(to("order.placed")).await.unwrap();
    let mut last = other.subscribe(to("last")).await.unwrap();
    publisher.publish_acknowledged(event("order.placed", "1"), Ack::Accepted).await.unwrap();
    publisher.publish(event("last", "2")).await.unwrap();
    // What was published before it came before it on the same stream.
    last.next().await.unwrap();
    daemon.process().signal(Signal::KILL);
    assert!(matches!(last.next().await, Err(EventError::Ended(_))));
    let work = work.next().await;
    assert!(matches!(work, Err(EventError::Ended(_))), "it may be with somebody else by now: {work:?}");
    assert_eq!(watch.next().await.unwrap().event.id(), "1");
    assert!(matches!(watch.next().await, Err(EventError::Ended(_))));
}
