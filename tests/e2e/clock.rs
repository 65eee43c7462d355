//! Durable events of a host whose wall clock somebody sets.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plugmesh::event::v1::event_bus_service_client::EventBusServiceClient;
use plugmesh::event::v1::{ReplayRequest, Start, start};
use plugmesh_sdk::events::{Ack, Event, Events, Mode, Subscriber, Subscription};
use plugmesh_tests::{DEADLINE, Daemon, eventually};
use prost_types::Timestamp;

const DAY: i64 = 24 * 3600;

/// A library that shifts the wall clock of whoever loads it, and by how much.
struct Shift {
    folder: tempfile::TempDir,
    library: PathBuf,
    seconds: std::fs::File,
}

impl Shift {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("shift.c"), folder.path().join("shift.so"));
        std::fs::write(&source, include_str!("clock/shift.c")).unwrap();
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        assert!(compiler.status().unwrap().success(), "{compiler:?}");
        let seconds = std::fs::File::create(folder.path().join("seconds")).unwrap();
        let shift = Self { folder, library, seconds };
        shift.by(0);
        shift
    }

    /// From now on the clock is ahead by so many seconds, or behind.
    fn by(&self, seconds: i64) {
        self.seconds.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A daemon that sees this clock, whose journal keeps orders for an hour and one event of other topics.
    async fn daemon(&self) -> Daemon {
        let (library, seconds) = (self.library.to_str().unwrap(), self.folder().join("seconds"));
        let config = format!(
            "events: {{journal: {{path: {}, topics: [{{pattern: order.>, max_age: 1h}}, {{pattern: other, max_events: 1}}]}}}}",
            self.folder().join("events.db").display()
        );
        let daemon = Daemon::builder().config(config);
        daemon.env("LD_PRELOAD", library).env("CLOCK_SHIFT", seconds.to_str().unwrap()).start().await
    }
}

async fn connect(daemon: &Daemon) -> Events {
    Events::connect(daemon.channel(), "a test").await.unwrap()
}

async fn publish(events: &Events, topic: &str, id: i64) {
    let event = Event::builder(topic, topic).id(&id.to_string()).build().unwrap();
    let outcome = events.publish_acknowledged(event, Ack::Durable).await.unwrap();
    assert!(!outcome.duplicate);
}

/// Ids of the events that the journal has, from a time or from the beginning.
async fn recorded(daemon: &Daemon, pattern: &str, from: Option<Timestamp>) -> Vec<String> {
    let at = from.map(start::At::Time);
    let request = ReplayRequest {
        patterns: vec![pattern.to_owned()],
        start: at.map(|at| Start { at: Some(at) }),
        ..ReplayRequest::default()
    };
    let mut replay = EventBusServiceClient::new(daemon.channel()).replay(request).await.unwrap().into_inner();
    let mut ids = Vec::new();
    while let Some(response) = replay.message().await.unwrap() {
        ids.extend(response.event.map(|event| event.id));
    }
    ids
}

/// Waits until the journal has deleted what it should, by a topic of which it keeps one event.
async fn tidied(daemon: &Daemon, events: &Events, id: i64) {
    for id in [10 * id, 10 * id + 1] {
        publish(events, "other", id).await;
    }
    let last = [(10 * id + 1).to_string()];
    eventually("old events are deleted", async || {
        (recorded(daemon, "other", None).await == last).then_some(())
    })
    .await;
}

async fn billing(events: &Events) -> Subscriber {
    let what = Subscription {
        patterns: vec!["order.>".to_owned()],
        durable_name: "billing".to_owned(),
        mode: Mode::AtLeastOnce as i32,
        ..Subscription::default()
    };
    events.subscribe(what).await.unwrap()
}

async fn next(subscriber: &mut Subscriber) -> (String, u32, u64) {
    let delivered =
        tokio::time::timeout(DEADLINE, subscriber.next()).await.expect("an event in time").unwrap();
    assert_eq!(delivered.dropped, 0);
    (delivered.event.id().to_owned(), delivered.attempt, delivered.number)
}

#[tokio::test]
async fn events_are_kept_in_order_and_grow_old_as_time_passes_whatever_the_clock_says() {
    let shift = Shift::new();
    let daemon = shift.daemon().await;
    let events = connect(&daemon).await;
    let mut subscriber = billing(&events).await;
    for (id, days) in [0, 30, -30, -7000, 1].into_iter().enumerate() {
        let id = id as i64;
        shift.by(days * DAY);
        publish(&events, "order.placed", id).await;
        let (found, attempt, number) = next(&mut subscriber).await;
        assert_eq!((found, attempt), (id.to_string(), 1));
        // A pause is not longer for it, nor shorter than none.
        subscriber.failed(number, "later", Some(Duration::from_millis(20)));
        shift.by(-days * DAY);
        let (found, attempt, number) = next(&mut subscriber).await;
        assert_eq!((found, attempt), (id.to_string(), 2));
        subscriber.handled([number]);
        tidied(&daemon, &events, id).await;
        let expected: Vec<_> = (0..=id).map(|id| id.to_string()).collect();
        assert_eq!(recorded(&daemon, "order.>", None).await, expected, "none is older than a minute");
    }

    // In the future of the next host, and once more in its past.
    shift.by(30 * DAY);
    publish(&events, "order.placed", 5).await;
    drop((subscriber, events));
    daemon.stop().await.ok();
    shift.by(-DAY);
    let daemon = shift.daemon().await;
    let events = connect(&daemon).await;
    let mut subscriber = billing(&events).await;
    assert_eq!(next(&mut subscriber).await.0, "5");
    publish(&events, "order.placed", 6).await;
    assert_eq!(next(&mut subscriber).await.0, "6");
    tidied(&daemon, &events, 6).await;
    assert_eq!(recorded(&daemon, "order.>", None).await, ["0", "1", "2", "3", "4", "5", "6"]);
    // Times that were recorded never go back, so that one of them divides what was before from what came after.
    let after_all = Timestamp { seconds: i64::from(u32::MAX), nanos: 0 };
    assert_eq!(recorded(&daemon, "order.>", Some(after_all)).await, Vec::<String>::new());
    let before_all = Timestamp { seconds: 1, nanos: 0 };
    assert_eq!(recorded(&daemon, "order.>", Some(before_all)).await.len(), 7);
}
