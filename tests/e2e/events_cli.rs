//! Events with the command line: publishing and watching, the journal, dead letters, statistics.

use std::process::Command;

use plugmesh_sdk::events::{Event, Events, Mode, Subscriber, Subscription};
use plugmesh_tests::{Daemon, Process, Ran, binary, eventually, tools};
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

#[tokio::test]
async fn the_journal_is_read_again_from_anywhere() {
    let daemon = with_journal().await;
    for id in ["1", "2", "3"] {
        let text = events(&daemon, &["publish", "order.placed", "--id", id, "-d", id]).await.ok();
        assert_eq!(text, format!("published order.placed {id}\n"));
    }
    let again = events(&daemon, &["publish", "order.placed", "--id", "2"]).await.ok();
    assert!(again.starts_with("duplicate order.placed 2: /plugmesh/cli has published"), "{again}");
    let again = events(&daemon, &["publish", "order.placed", "--id", "2", "-o", "json"]).await.json();
    assert_eq!(again["duplicate"], true);

    let replay = async |args: &[&str]| {
        documents(&events(&daemon, &[&["replay", "order.*"], args].concat()).await.ok())
    };
    let all = replay(&[]).await;
    assert_eq!(ids(&all, "/event/id"), ["1", "2", "3"]);
    assert_eq!(ids(&all, "/place"), ["1", "2", "3"]);
    let recorded = all[1]["recorded"].as_str().unwrap();
    for (args, expected) in [
        (&["--from", "id:1"][..], &["2", "3"][..]),
        (&["--from", "place:2"], &["3"]),
        (&["--from", "1h", "-n", "1"], &["1"]),
        (&["--from", "2000-01-01T00:00:00Z", "--filter", "id=3"], &["3"]),
        (&["--from", "end"], &[]),
    ] {
        assert_eq!(ids(&replay(args).await, "/event/id"), expected, "{args:?}");
    }
    assert!(ids(&replay(&["--from", recorded]).await, "/event/id").contains(&"3".to_owned()));
    let unknown = events(&daemon, &["replay", "order.*", "--from", "id:4"]).await;
    assert!(unknown.failed(status(Code::NotFound)).contains("no event with that id"));

    // The journal first, and without a gap what follows; more events than there is credit for at once.
    let tail = tail(&daemon, &["order.>", "--from", "id:1", "-n", "2502"]).await;
    assert!(tail.wrote("\"id\":\"3\"").await, "{}", tail.err());
    let publisher = Events::connect(daemon.channel(), "a test").await.unwrap();
    for id in 4..=2503 {
        let event = Event::builder("order.placed", "/test").id(&id.to_string()).build().unwrap();
        publisher.publish(event).await.unwrap();
    }
    publisher.flush().await.unwrap();
    let seen = documents(&tail.ended().await.ok());
    let expected: Vec<_> = (2..=2503).map(|id| id.to_string()).collect();
    assert_eq!(ids(&seen, "/id"), expected);
}

#[tokio::test]
async fn dead_letters_are_listed_shown_delivered_again_and_deleted() {
    for config in [JOURNAL, ""] {
        let daemon = Daemon::builder().config(config).start().await;
        assert_eq!(events(&daemon, &["dlq", "list"]).await.err, "no dead letters\n");
        let mut work = billing(&daemon).await;
        for id in ["1", "2", "3"] {
            let publish = ["publish", "order.placed", "--id", id, "-d", "{\"a\": 1}", "--ack", "handled"];
            let publishing = daemon.cli_process(&[&["events"], &publish[..]].concat());
            let number = work.next().await.unwrap().number;
            work.rejected(number, "no such\ncustomer");
            let published = publishing.ended().await;
            let told = format!("published order.placed {id}: given up by billing\n");
            assert_eq!((published.code, published.out), (1, told));
        }
        let list = events(&daemon, &["dlq", "list", "-o", "json"]).await.json();
        let letters = list["letters"].as_array().unwrap();
        assert_eq!(ids(letters, "/event/id"), ["1", "2", "3"]);
        let ids = ids(letters, "/id");
        let table = events(&daemon, &["dlq", "list", "--subscription", "billing", "-n", "2"]).await;
        assert_eq!((table.code, table.out.lines().count()), (0, 3), "{table:#?}");
        assert!(table.out.contains("order.placed") && table.out.contains("rejected"), "{table:#?}");
        assert!(table.out.contains("no such …") && table.err.contains("more than these 2"), "{table:#?}");
        assert_eq!(events(&daemon, &["dlq", "list", "--subscription", "x"]).await.err, "no dead letters\n");

        let shown = events(&daemon, &["dlq", "show", &ids[1], "-o", "json"]).await.json();
        assert_eq!(shown["event"]["data"], json!({"a": 1}));
        let fields = ["subscription", "cause", "reason", "attempts"].map(|name| shown[name].clone());
        assert_eq!(json!(fields), json!(["billing", "CAUSE_REJECTED", "no such\ncustomer", 1]));
        let text = events(&daemon, &["dlq", "show", &ids[1]]).await.ok();
        assert!(text.contains("cause:") && text.contains("\"id\": \"2\""), "{text}");
        events(&daemon, &["dlq", "show", "99"]).await.failed(status(Code::NotFound));

        let redriven = events(&daemon, &["dlq", "redrive", &ids[1], "99"]).await;
        assert_eq!((redriven.code, redriven.out.as_str()), (1, "delivered 1 dead letter again\n"));
        assert!(redriven.err.contains("99: there is no such dead letter"), "{redriven:#?}");
        let again = work.next().await.unwrap();
        assert_eq!(again.event.id(), "2");
        work.handled([again.number]);
        eventually("it is gone", async || {
            let list = events(&daemon, &["dlq", "list", "-o", "json"]).await.json();
            (list["letters"].as_array().unwrap().len() == 2).then_some(())
        })
        .await;

        events(&daemon, &["dlq", "purge", "--yes"]).await.failed(2);
        let purged = events(&daemon, &["dlq", "purge", &ids[0], &ids[1], "--yes"]).await;
        assert_eq!((purged.code, purged.out.as_str()), (1, "deleted 1 dead letter\n"), "{purged:#?}");
        let purged = events(&daemon, &["dlq", "purge", "--subscription", "billing", "-o", "json"]).await;
        assert_eq!(purged.json()["count"], "1");
    }
}

#[tokio::test]
async fn statistics_say_what_the_bus_has_done() {
    let daemon = with_journal().await;
    let mut work = billing(&daemon).await;
    for id in ["1", "2", "2"] {
        events(&daemon, &["publish", "order.placed", "--id", id]).await.ok();
    }
    events(&daemon, &["publish", "order.placed", "--ack", "durable"]).await.ok();
    let large = daemon.home().join("large");
    std::fs::write(&large, vec![0; 2 << 20]).unwrap();
    let large = large.display().to_string();
    let refused = ["publish", "order.placed", "--content-type", "a/b", "--data-file", &large];
    events(&daemon, &refused).await.failed(status(Code::InvalidArgument));
    let first = work.next().await.unwrap().number;
    work.handled([first]);
    let second = work.next().await.unwrap().number;
    work.rejected(second, "no");
    let stats = eventually("both are settled", async || {
        let stats = events(&daemon, &["stats", "-o", "json"]).await.json();
        (stats["subscriptions"][0]["givenUp"] == "1").then_some(stats)
    })
    .await;
    let count = |name: &str| stats[name].clone();
    assert_eq!(json!(["published", "refused", "duplicates"].map(count)), json!(["3", "1", "1"]), "{stats}");
    let one = &stats["subscriptions"][0];
    assert_eq!(one["name"], "billing");
    let counts = ["delivered", "redelivered", "acknowledged", "dropped"].map(|name| one[name].clone());
    assert_eq!(json!(counts), json!(["3", "0", "1", "0"]), "{stats}");
    assert_eq!(json!([stats["journal"]["events"], stats["journal"]["deadLetters"]]), json!(["3", "1"]));

    let text = events(&daemon, &["stats"]).await.ok();
    for part in
        ["published:   3", "SUBSCRIPTION", "billing", "order.*", "at least once", "journal:     3 events"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let watch = daemon.cli_process(&["events", "stats", "--watch", "--interval", "100ms"]);
    assert!(watch.wrote("DELIVERED/S").await && watch.wrote("published:   3 (0/s)").await, "{}", watch.err());
    assert_eq!(watch.end(Signal::INT).await.code, 130);
}

#[tokio::test]
async fn a_durable_name_is_forgotten_when_nobody_uses_it() {
    let daemon = with_journal().await;
    let what = Subscription {
        patterns: vec!["order.*".to_owned()],
        durable_name: "billing".to_owned(),
        ..Subscription::default()
    };
    let stream = Events::connect(daemon.channel(), "a test").await.unwrap();
    let subscriber = stream.subscribe(what).await.unwrap();
    let forget = async || events(&daemon, &["forget", "billing"]).await;
    assert!(forget().await.failed(status(Code::FailedPrecondition)).contains("is in use"));
    drop((subscriber, stream));
    let forgot =
        eventually("nobody uses it", async || Some(forget().await).filter(|ran| ran.code == 0)).await;
    assert_eq!(forgot.out, "forgot billing\n");
    forget().await.failed(status(Code::NotFound));
}

#[tokio::test]
async fn a_tail_ends_with_its_reader_and_data_comes_from_a_pipe() {
    let daemon = Daemon::builder().start().await;
    let script = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).arg(binary("plugmesh")).env("PLUGMESH_HOST", daemon.socket());
        Process::start(&mut shell)
    };
    // The shell waits for both: nothing else is published that would make the tail write, and fail.
    let first = script("\"$0\" events tail '>' | head -n 1");
    assert!(first.wrote_error("subscribed").await, "{}", first.err());
    script("printf '[1,\\n2]' | \"$0\" events publish a --id 1 -d @").ended().await.ok();
    let first = first.ended().await.json();
    assert_eq!((&first["id"], &first["data"]), (&json!("1"), &json!([1, 2])));
}

#[tokio::test]
async fn people_get_lines_and_are_asked() {
    if !tools::require_tool("script") {
        return;
    }
    let daemon = with_journal().await;
    events(&daemon, &["publish", "order.placed", "--subject", "ada", "-d", "{\"a\": 1}"]).await.ok();
    let mut work = billing(&daemon).await;
    events(&daemon, &["publish", "order.placed", "--source", "/shop"]).await.ok();
    let number = work.next().await.unwrap().number;
    work.rejected(number, "no");
    let letter = eventually("a dead letter", async || {
        let list = events(&daemon, &["dlq", "list", "-o", "json"]).await.json();
        list["letters"][0]["id"].as_str().map(str::to_owned)
    });
    let letter = letter.await;
    // A terminal of its own, and a person who types.
    let typed = async |typed: &str, args: &str| {
        let mut shell = Command::new("sh");
        let line = format!("printf '{typed}' | script -qec \"\\\"$0\\\" events {args}\" /dev/null");
        shell.args(["-c", &line]).arg(binary("plugmesh"));
        Ran::of(shell.env("PLUGMESH_HOST", daemon.socket()).env("TERM", "xterm").env("SHELL", "/bin/sh"))
            .await
    };
    let lines = typed("", "replay order.placed").await.ok();
    assert!(lines.contains("\u{1b}[") && lines.contains("subject=ada"), "{lines:?}");
    assert!(lines.contains(" {\"a\": 1}\r\n") && !lines.contains("specversion"), "{lines:?}");
    let plain = typed("", "replay order.placed --color never --from id:nothing").await;
    assert_eq!(plain.code, status(Code::NotFound), "{plain:?}");

    let purge = format!("dlq purge {letter}");
    let asked = typed("n\\n", &purge).await;
    assert!(asked.out.contains("Delete 1 dead letter for good? [y/N]"), "{asked:?}");
    assert!(asked.code == 1 && asked.out.contains("nothing was deleted"), "{asked:?}");
    assert!(typed("y\\n", &purge).await.ok().contains("deleted 1 dead letter"));
}
