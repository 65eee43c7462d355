//! The journal, read again, and durable names.

use plugmesh_sdk::events::{Event, Events, Subscription};
use plugmesh_tests::eventually;
use tonic::Code;

use super::{documents, events, ids, status, tail, with_journal};

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
