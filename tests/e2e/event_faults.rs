//! Events that are no good, streams that break, journals without room or in pieces: through the real daemon.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use plugmesh::event::v1::bus_frame::Frame as Told;
use plugmesh::event::v1::client_frame::Frame;
use plugmesh::event::v1::event_bus_service_client::EventBusServiceClient;
use plugmesh::event::v1::{Acknowledge, BusFrame, ClientFrame, Credit, Nack, Subscribe};
use plugmesh_sdk::events::{Ack, Event, EventError, Events, Mode, Subscription};
use plugmesh_tests::{DEADLINE, Daemon, tools};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

const BUS: &str = "plugmesh.event.v1.EventBusService";

/// A daemon whose journal lies in `folder` and keeps `order.>`.
async fn durable(folder: &Path) -> Daemon {
    let file = folder.join("events.db");
    let config = format!("events: {{journal: {{path: {}, topics: [{{pattern: order.>}}]}}}}", file.display());
    Daemon::builder().config(config).start().await
}

async fn connect(daemon: &Daemon) -> Events {
    Events::connect(daemon.channel(), "a test").await.unwrap()
}

fn order(id: u32, bytes: usize) -> Event {
    Event::builder("order.placed", "/test").id(&id.to_string()).data(vec![7; bytes]).build().unwrap()
}

async fn replayed(daemon: &Daemon) -> Vec<String> {
    let ran = daemon.grpcurl(&["-d", r#"{"patterns": ["order.>"]}"#, &format!("{BUS}/Replay")]).await;
    let lines = ran.ok();
    let ids = lines.lines().filter_map(|line| line.trim().strip_prefix("\"id\": \"")?.strip_suffix("\","));
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn what_is_no_event_is_refused_and_its_neighbours_are_not() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = Daemon::builder().start().await;
    let sound = r#""id": "1", "source": "/s", "spec_version": "1.0", "type": "t""#;
    for (event, code, part) in [
        (r#"{"source": "/s", "spec_version": "1.0", "type": "t"}"#, 3, "`id` is missing"),
        (r#"{"id": "1", "spec_version": "1.0", "type": "t"}"#, 3, "`source` is missing"),
        (r#"{"id": "1", "source": "/s", "spec_version": "1.0"}"#, 3, "`type` is missing"),
        (r#"{"id": "1", "source": "/s", "spec_version": "0.3", "type": "t"}"#, 3, "\"0.3\""),
        (&format!(r#"{{{sound}, "attributes": {{"Trace-Id": {{"ce_string": "x"}}}}}}"#), 3, "\"Trace-Id\""),
        (
            &format!(r#"{{{sound}, "attributes": {{"time": {{"ce_string": "now"}}}}}}"#),
            3,
            "`time` is of type",
        ),
        (&format!(r#"{{{sound}, "attributes": {{"x": {{}}}}}}"#), 3, "`x`"),
    ] {
        let request = format!(r#"{{"events": [{{{sound}}}, {event}, {{{sound}}}]}}"#);
        let answer = daemon.grpcurl(&["-d", &request, &format!("{BUS}/Publish")]).await.json();
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        assert_eq!(results[1]["code"], code, "{answer}");
        assert!(results[1]["message"].as_str().unwrap().contains(part), "{part}: {answer}");
        assert!(results[0]["code"].is_null() && results[2]["code"].is_null(), "{answer}");
    }
}

/// A participant that says each frame itself.
struct Raw {
    frames: mpsc::Sender<ClientFrame>,
    told: Streaming<BusFrame>,
    epoch: u64,
}

impl Raw {
    async fn connect(daemon: &Daemon) -> Self {
        let (frames, receiver) = mpsc::channel(100);
        let mut client = EventBusServiceClient::new(daemon.channel());
        let told = client.connect(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let mut raw = Self { frames, told, epoch: 0 };
        let Told::Welcome(welcome) = raw.told().await else { panic!("no welcome") };
        raw.epoch = welcome.epoch;
        raw
    }

    async fn say(&self, frame: Frame) {
        self.frames.send(ClientFrame { frame: Some(frame) }).await.unwrap();
    }

    async fn told(&mut self) -> Told {
        let next = tokio::time::timeout(DEADLINE, self.told.message()).await;
        next.expect("a frame").unwrap().expect("a stream that goes on").frame.unwrap()
    }

    async fn subscribe(&mut self) {
        let what = Subscription {
            patterns: vec!["a".to_owned()],
            mode: Mode::AtLeastOnce as i32,
            ..Subscription::default()
        };
        let credit = Some(Credit { subscription: 1, events: 10, bytes: 1 << 20 });
        self.say(Frame::Subscribe(Subscribe { subscription: 1, what: Some(what), credit })).await;
        assert!(matches!(self.told().await, Told::Subscribed(_)));
    }

    async fn acknowledge(&self, epoch: u64, handled: Vec<u64>, failed: Vec<Nack>) {
        let acknowledge = Acknowledge { subscription: 1, epoch, handled, failed, in_progress: Vec::new() };
        self.say(Frame::Acknowledge(acknowledge)).await;
    }
}

#[tokio::test]
async fn answers_that_answer_nothing_are_told_and_the_stream_goes_on() {
    let daemon = Daemon::builder().start().await;
    let (mut raw, publisher) = (Raw::connect(&daemon).await, connect(&daemon).await);
    raw.subscribe().await;
    let event = |id: &str| Event::builder("a", "/test").id(id).build().unwrap();
    publisher.publish_acknowledged(event("1"), Ack::Accepted).await.unwrap();
    assert!(matches!(raw.told().await, Told::Delivery(_)));
    raw.acknowledge(raw.epoch, vec![99], vec![]).await;
    let Told::Problem(problem) = raw.told().await else { panic!("not told") };
    assert_eq!((Code::from_i32(problem.code), problem.sequence), (Code::NotFound, 99));
    raw.acknowledge(raw.epoch - 1, vec![1], vec![]).await;
    let Told::Problem(problem) = raw.told().await else { panic!("not told") };
    assert_eq!(Code::from_i32(problem.code), Code::FailedPrecondition);
    assert!(problem.message.contains("not that of this stream"), "{}", problem.message);
    // Twice is once, and failing what was handled changes nothing.
    raw.acknowledge(raw.epoch, vec![1, 1], vec![]).await;
    let late = Nack { sequence: 1, reason: "late".to_owned(), ..Nack::default() };
    raw.acknowledge(raw.epoch, vec![1], vec![late]).await;
    publisher.publish_acknowledged(event("2"), Ack::Accepted).await.unwrap();
    let Told::Delivery(delivery) = raw.told().await else { panic!("it does not go on") };
    assert_eq!((delivery.events[0].id.as_str(), delivery.attempts.len()), ("2", 0));
}

#[tokio::test]
async fn a_stream_that_is_cut_in_mid_frame_publishes_what_was_whole() {
    let daemon = Daemon::builder().start().await;
    let watcher = connect(&daemon).await;
    let to_all = Subscription { patterns: vec!["a".to_owned()], ..Subscription::default() };
    let mut seen = watcher.subscribe(to_all).await.unwrap();
    let socket = tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://localhost/plugmesh.event.v1.EventBusService/Connect")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    let events = vec![Event::builder("a", "/test").id("whole").build().unwrap().decode().unwrap()];
    let publish = plugmesh::event::v1::Publish { events, ..Default::default() };
    let frame = ClientFrame { frame: Some(Frame::Publish(publish)) }.encode_to_vec();
    let whole = [&[0], (frame.len() as u32).to_be_bytes().as_slice(), &frame].concat();
    body.send_data(Bytes::from([whole.as_slice(), &whole[..whole.len() / 2]].concat()), false).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(seen.next().await.unwrap().event.id(), "whole");
    drop((client, body));
    connection.abort();
    // The host has noticed, and goes on.
    let after = Event::builder("a", "/test").id("after").build().unwrap();
    watcher.publish_acknowledged(after, Ack::Accepted).await.unwrap();
    assert_eq!(seen.next().await.unwrap().event.id(), "after");
}

#[tokio::test]
async fn a_durable_name_that_nobody_knows_cannot_be_deleted() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let daemon = durable(folder.path()).await;
    let request = r#"{"durable_name": "nobody"}"#;
    let ran = daemon.grpcurl(&["-d", request, &format!("{BUS}/DeleteDurableName")]).await;
    let told = ran.failed(64 + Code::NotFound as i32);
    assert!(told.contains("there is no durable name \"nobody\""), "{told}");
}

/// A small file system in memory, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: this user may not mount anything.
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, should a daemon that is being killed still have files there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_disk_without_room_refuses_publishers_until_there_is_some() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(folder.path()) else {
        eprintln!("skipped: only root can mount a small disk");
        return;
    };
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![7; 1 << 20]).unwrap();
    let daemon = durable(folder.path()).await;
    let events = connect(&daemon).await;
    let mut kept = 0;
    let refusal = loop {
        match events.publish_acknowledged(order(kept, 50_000), Ack::Durable).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    let EventError::Refused(status) = refusal else { panic!("{refusal}") };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("is full"), "{}", status.message());
    assert!(kept > 10, "{kept}");
    // The host is well, and so are other topics.
    let other = Event::builder("user.login", "/test").build().unwrap();
    events.publish_acknowledged(other, Ack::Accepted).await.unwrap();
    assert_eq!(replayed(&daemon).await.len(), kept as usize, "what was acknowledged is there");
    std::fs::remove_file(ballast).unwrap();
    events.publish_acknowledged(order(kept, 50_000), Ack::Durable).await.unwrap();
    assert_eq!(replayed(&daemon).await.len(), kept as usize + 1);
}

#[tokio::test]
async fn a_damaged_journal_is_reported_and_its_sound_part_is_kept() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    const COUNT: u32 = 200;
    let folder = tempfile::tempdir().unwrap();
    let daemon = durable(folder.path()).await;
    let events = connect(&daemon).await;
    for id in 0..COUNT {
        events.publish_acknowledged(order(id, 1000), Ack::Durable).await.unwrap();
    }
    daemon.stop().await.ok();
    let file = folder.path().join("events.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // In the data of one event: 1000 sevens.
    let middle = (bytes.len() / 2..).find(|at| bytes[*at..*at + 100] == [7; 100]).unwrap();
    bytes[middle + 50] ^= 0xff;
    std::fs::write(&file, bytes).unwrap();
    let daemon = durable(folder.path()).await;
    let left = replayed(&daemon).await;
    assert!((COUNT as usize - 50..COUNT as usize).contains(&left.len()), "{}", left.len());
    let stats = daemon.grpcurl(&["-d", "{}", &format!("{BUS}/GetStats")]).await.json();
    let problem = stats["journal"]["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("damaged"), "{stats}");
    connect(&daemon).await.publish_acknowledged(order(COUNT, 10), Ack::Durable).await.unwrap();
    assert_eq!(replayed(&daemon).await.len(), left.len() + 1);
}
