//! Dead letters, and what the bus counts.

use plugmesh_tests::{Daemon, eventually};
use rustix::process::Signal;
use serde_json::json;
use tonic::Code;

use super::{JOURNAL, billing, events, ids, status, with_journal};

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
