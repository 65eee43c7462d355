//! Events with the command line: publishing and watching, the journal, dead letters, statistics.

mod dead_letters;
mod journal;
mod people;

use plugmesh_sdk::events::{Event, Events, Mode, Subscriber, Subscription};
use plugmesh_tests::{Daemon, Process, Ran};
use rustix::process::Signal;
use serde_json::{Value, json};
use tonic::Code;

const JOURNAL: &str =
    "events: {journal: {path: events.db, topics: [{pattern: \"order.>\", fsync: os}]}}\nplugins: {}\n";

async fn with_journal() -> Daemon {
    Daemon::builder().config(JOURNAL).start().await
}

async fn events(daemon: &Daemon, args: &[&str]) -> Ran {
    daemon.cli(&[&["events"], args].concat()).await
}

/// A tail that is subscribed.
async fn tail(daemon: &Daemon, args: &[&str]) -> Process {
    let tail = daemon.cli_process(&[&["events", "tail"], args].concat());
    assert!(tail.wrote_error("subscribed to").await, "{}", tail.err());
    tail
}

/// The documents of a stream.
fn documents(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn ids(documents: &[Value], path: &str) -> Vec<String> {
    documents.iter().map(|it| it.pointer(path).and_then(Value::as_str).unwrap().to_owned()).collect()
}

fn status(code: Code) -> i32 {
    64 + code as i32
}

/// A member of the group `billing`.
async fn billing(daemon: &Daemon) -> Subscriber {
    let group = plugmesh::event::v1::subscription::Members::Group("billing".to_owned());
    let what = Subscription {
        patterns: vec!["order.*".to_owned()],
        members: Some(group),
        mode: Mode::AtLeastOnce as i32,
        ..Subscription::default()
    };
    let stream = Events::connect(daemon.channel(), "a test").await.unwrap();
    stream.subscribe(what).await.unwrap()
}

#[tokio::test]
async fn what_is_published_is_seen_as_it_comes() {
    let daemon = Daemon::builder().start().await;
    let tail =
        tail(&daemon, &["user.*", "order.>", "--filter", "source^=/plug", "--filter", "!hidden"]).await;
    events(&daemon, &["publish", "user.login", "--source", "/other", "--id", "not wanted"]).await.ok();
    events(&daemon, &["publish", "user.login", "-a", "hidden=yes", "--id", "not wanted"]).await.ok();
    let args =
        ["publish", "user.login", "-d", "{\"b\": 1.50,\n \"a\": [ ]}", "--subject", "ada", "-a", "region=eu"];
    let published = events(&daemon, &[&args[..], &["-o", "json"]].concat()).await.json();
    let file = daemon.home().join("picture");
    std::fs::write(&file, b"\xff\x00").unwrap();
    let file = file.display().to_string();
    let mut args =
        vec!["publish", "order.a.b", "--id", "last", "--content-type", "image/x", "--data-file", &file];
    args.extend(["--partition-key", "k", "-a", "time=2026-01-31T12:00:00+01:00"]);
    assert_eq!(events(&daemon, &args).await.ok(), "published order.a.b last\n");

    assert!(tail.wrote("\"last\"").await, "{}", tail.err());
    let ended = tail.end(Signal::INT).await;
    assert_eq!((ended.code, ended.err.as_str()), (130, "subscribed to user.*, order.>\n"));
    let [login, picture] = &documents(&ended.out)[..] else { panic!("{ended:#?}") };
    assert!(ended.out.contains(r#""data":{"b":1.50,"a":[]}"#), "as it was written: {}", ended.out);
    let time = login["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() > 20, "{time}");
    let expected = json!({
        "specversion": "1.0", "id": published["id"], "source": "/plugmesh/cli", "type": "user.login",
        "time": time, "subject": "ada", "region": "eu",
        "datacontenttype": "application/json", "data": {"b": 1.5, "a": []},
    });
    assert_eq!(*login, expected);
    let expected = json!({
        "specversion": "1.0", "id": "last", "source": "/plugmesh/cli", "type": "order.a.b",
        "time": "2026-01-31T11:00:00Z", "partitionkey": "k",
        "datacontenttype": "image/x", "data_base64": "/wA=",
    });
    assert_eq!(*picture, expected);
}

#[tokio::test]
async fn what_a_tail_is_too_slow_for_is_told() {
    let daemon = Daemon::builder().start().await;
    let tail = tail(&daemon, &["count.*"]).await;
    tail.signal(Signal::STOP);
    let publisher = Events::connect(daemon.channel(), "a test").await.unwrap();
    // More than the subscription and the connection hold together.
    for _ in 0..5000 {
        publisher
            .publish(Event::builder("count.up", "/test").text("a".repeat(4096)).build().unwrap())
            .await
            .unwrap();
    }
    publisher.flush().await.unwrap();
    tail.signal(Signal::CONT);
    assert!(tail.wrote_error("dropped here: this reader is too slow").await, "{}", tail.err());
    events(&daemon, &["publish", "count.end", "--id", "last"]).await.ok();
    assert!(tail.wrote("\"last\"").await, "{}", tail.err());
    let ended = tail.end(Signal::INT).await;
    let dropped: usize = ended
        .err
        .lines()
        .filter_map(|line| line.split_once(" events dropped")?.0.parse::<usize>().ok())
        .sum();
    assert_eq!(documents(&ended.out).len() + dropped, 5001, "{}", ended.err);
}

#[tokio::test]
async fn what_is_wrong_with_an_event_is_said() {
    let daemon = with_journal().await;
    let large = daemon.home().join("large");
    std::fs::write(&large, format!("\"{}\"", "a".repeat(2 << 20))).unwrap();
    let large = format!("@{}", large.display());
    let order = ["publish", "order.placed"];
    for (args, code, says) in [
        (&["-a", "Bad-Name=1"][..], 2, "the attribute name \"Bad-Name\" is not 1 to 64 lower-case letters"),
        (&["-a", "id=1"], 2, "`id` is a field of the event"),
        (&["-a", "time=noon"], 2, "`time` is no time: \"noon\""),
        (&["--subject", ""], 2, "`subject` is empty"),
        (&["-d", "{\"a\": }"], 1, "the data is not JSON"),
        (&["-d", "@/nowhere"], 1, "cannot read /nowhere"),
        (&["-d", &large], status(Code::InvalidArgument), "events.max_event_size"),
    ] {
        let error = events(&daemon, &[&order[..], args].concat()).await.failed(code);
        assert!(error.contains(says), "{args:?}: {error}");
    }
    let refused = events(&daemon, &["publish", "user.login", "--ack", "durable", "-o", "json"]).await;
    let refused: Value = serde_json::from_str(&refused.failed(status(Code::FailedPrecondition))).unwrap();
    assert_eq!(refused["error"]["code"], "FAILED_PRECONDITION");
    // What cannot be subscribed to is refused before anything is printed.
    let tail = events(&daemon, &["tail", "a..b"]).await.failed(status(Code::InvalidArgument));
    assert!(tail.contains("empty token"), "{tail}");
    let tail = events(&daemon, &["tail", "user.*", "--from", "beginning"]).await;
    assert!(tail.failed(status(Code::FailedPrecondition)).contains("the journal does not keep"));
    events(&daemon, &["tail", "a", "--filter", "a~=b"]).await.failed(2);
}
