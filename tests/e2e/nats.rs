//! Hosts that share durable topics through NATS JetStream, with a real nats-server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use plugmesh_sdk::events::{Ack, Event, EventError, Events, Outcome, Subscriber, Subscription};
use plugmesh_tests::{
    Certificates, DEADLINE, Daemon, Identity, NatsServer, PluginDir, binary, binary_with_nats, eventually,
};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;

use crate::kills::kill;

/// A host that keeps these topics on a server.
async fn host(server: &NatsServer, plugin: Option<PluginDir>) -> Daemon {
    let config = server.config("[\"user.>\", \"order.>\", \"job.>\", \"done.>\"]", "");
    let daemon = Daemon::builder().program(binary_with_nats()).config(config);
    plugin.into_iter().fold(daemon, |daemon, plugin| daemon.plugin(plugin)).start().await
}

async fn connect(daemon: &Daemon) -> Events {
    Events::connect(daemon.channel(), "a test").await.unwrap()
}

fn durable(pattern: &str, name: &str) -> Subscription {
    Subscription {
        patterns: vec![pattern.to_owned()],
        durable_name: name.to_owned(),
        ..Subscription::default()
    }
}

fn order(id: &str) -> Event {
    Event::builder("order.placed", "/shop").id(id).json(&json!({"items": [1, 2]})).unwrap().build().unwrap()
}

/// Publishes as `publish_with_retry` does, until the bus has it.
async fn publish_with_retry(events: &Events, event: &Event) -> Outcome {
    let publishing = async {
        loop {
            match events.publish_acknowledged(event.clone(), Ack::Durable).await {
                Ok(outcome) => return outcome,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, publishing).await.expect("it is kept in the end")
}

/// Takes an event and says that it is handled.
async fn handle(work: &mut Subscriber) -> Event {
    let delivered = tokio::time::timeout(DEADLINE, work.next()).await.expect("an event comes").unwrap();
    work.handled([delivered.number]);
    delivered.event
}

/// Takes events until all of these were among them.
async fn handle_all(work: &mut Subscriber, mut missing: BTreeSet<String>) {
    while !missing.is_empty() {
        let taken = tokio::time::timeout(DEADLINE, work.next()).await;
        let delivered = taken.unwrap_or_else(|_| panic!("never came: {missing:?}")).unwrap();
        work.handled([delivered.number]);
        missing.remove(delivered.event.id());
    }
}

#[tokio::test]
async fn a_plugin_on_one_host_handles_what_is_published_on_another() {
    let Some(server) = NatsServer::start(&[]) else { return };
    let here = host(&server, None).await;
    let there = host(&server, Some(PluginDir::command("audit-log", binary("audit-log")))).await;
    there.wait_ready("audit-log").await;
    let data = r#"{"user": "ada", "address": "127.0.0.1"}"#;
    here.cli(&["events", "publish", "user.login", "-d", data, "--ack", "durable"]).await.ok();
    let lines = eventually("its line", async || {
        let ran = there.cli(&["logs", "audit-log"]).await;
        Some(ran.ok()).filter(|out| out.contains("user came"))
    });
    assert!(lines.await.contains("user=ada"));
    // Whoever asks sees the same on both.
    for daemon in [&here, &there] {
        let replayed = daemon.cli(&["events", "replay", "user.*"]).await.ok();
        assert!(replayed.contains("\"user.login\"") && replayed.lines().count() == 1, "{replayed}");
    }
    assert!(there.stop().await.code == 0 && here.stop().await.code == 0);
}

#[tokio::test]
async fn a_host_that_is_killed_takes_nothing_with_it_that_was_acknowledged() {
    const COUNT: u32 = 500;
    let Some(server) = NatsServer::start(&[]) else { return };
    let (here, there) = (host(&server, None).await, host(&server, None).await);
    let publisher = connect(&here).await;
    let mut work = connect(&here).await.subscribe(durable("order.>", "billing")).await.unwrap();
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let publish = |id: u32| {
        let (publisher, acknowledged) = (publisher.clone(), acknowledged.clone());
        async move {
            let id = id.to_string();
            if publisher.publish_acknowledged(order(&id), Ack::Durable).await.is_ok() {
                acknowledged.lock().unwrap().insert(id);
            }
        }
    };
    (0..COUNT / 2).map(publish).collect::<JoinSet<_>>().join_all().await;
    assert_eq!(acknowledged.lock().unwrap().len() as u32, COUNT / 2);
    // Some are handled, and the host has many more: it goes while it is at them, and at what is published.
    let mut publishing: JoinSet<_> = (COUNT / 2..COUNT).map(publish).collect();
    let mut handled = BTreeSet::new();
    for _ in 0..50 {
        handled.insert(handle(&mut work).await.id().to_owned());
    }
    kill(here.pid().await);
    let (ran, _home) = here.ended().await;
    assert_eq!(ran.code, 128 + 9, "{ran:#?}");
    while publishing.join_next().await.is_some() {}
    let missing: BTreeSet<_> = acknowledged.lock().unwrap().difference(&handled).cloned().collect();
    assert!(missing.len() as u32 >= COUNT / 2 - 50, "{}", missing.len());
    let mut work = connect(&there).await.subscribe(durable("order.>", "billing")).await.unwrap();
    handle_all(&mut work, missing).await;
}

#[tokio::test]
async fn a_server_that_is_killed_under_load_loses_nothing_that_was_acknowledged() {
    const COUNT: usize = 2000;
    const AT_ONCE: usize = 50;
    let Some(mut server) = NatsServer::start(&[]) else { return };
    let here = host(&server, None).await;
    // It handles jobs, and publishes with `publish_with_retry` what is done.
    let listener = PluginDir::listener(2).env("LISTENER_DURABLE", "jobs");
    let there = host(&server, Some(listener)).await;
    there.wait_ready("listener").await;
    let mut done = connect(&here).await.subscribe(durable("done.>", "boss")).await.unwrap();
    let next = Arc::new(Mutex::new(0..COUNT));
    let mut publishing = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (publisher, next) = (connect(&here).await, next.clone());
        publishing.spawn(async move {
            loop {
                let id = next.lock().unwrap().next();
                let Some(id) = id.map(|id| id.to_string()) else { return };
                let job = Event::builder("job.a", "/test").id(&id).json("ok").unwrap();
                publish_with_retry(&publisher, &job.build().unwrap()).await;
            }
        });
    }
    let mut came = BTreeMap::<usize, u32>::new();
    while came.len() < COUNT {
        let event = handle(&mut done).await;
        let id = event.attribute("subject").unwrap().to_text().parse().unwrap();
        *came.entry(id).or_default() += 1;
        if [COUNT / 10, COUNT / 2].contains(&came.len()) && came[&id] == 1 {
            server = server.kill_and_restart().await;
        }
    }
    publishing.join_all().await;
    let letters = here.cli(&["events", "dlq", "list", "-o", "json"]).await.json();
    assert_eq!(letters["letters"], json!([]));
}

#[tokio::test]
async fn who_publishes_while_the_server_does_not_answer_is_told_to_try_again() {
    let Some(server) = NatsServer::start(&[]) else { return };
    let (here, there) = (host(&server, None).await, host(&server, None).await);
    let publisher = connect(&here).await;
    let live = Subscription { patterns: vec!["order.>".to_owned()], ..Subscription::default() };
    let mut live = connect(&there).await.subscribe(live).await.unwrap();
    let mut work = connect(&there).await.subscribe(durable("order.>", "billing")).await.unwrap();
    publisher.publish_acknowledged(order("before"), Ack::Durable).await.unwrap();
    assert_eq!(live.next().await.unwrap().event.id(), "before");
    server.signal(Signal::STOP);
    let refused = publisher.publish_acknowledged(order("meanwhile"), Ack::Durable);
    let refused = tokio::time::timeout(DEADLINE, refused).await.expect("an answer in time").unwrap_err();
    assert!(
        matches!(&refused, EventError::Refused(status) if status.code() == Code::Unavailable),
        "{refused}"
    );
    assert!(refused.is_transient() && refused.to_string().contains("publish it again"), "{refused}");
    // The rest of the host goes on.
    here.cli(&["list"]).await.ok();
    publisher
        .publish_acknowledged(Event::builder("a.b", "/test").build().unwrap(), Ack::Accepted)
        .await
        .unwrap();
    server.signal(Signal::CONT);
    publish_with_retry(&publisher, &order("meanwhile")).await;
    publish_with_retry(&publisher, &order("after")).await;
    assert_eq!(live.next().await.unwrap().event.id(), "meanwhile");
    assert_eq!(live.next().await.unwrap().event.id(), "after");
    let all = ["before", "meanwhile", "after"].map(str::to_owned);
    handle_all(&mut work, BTreeSet::from(all)).await;
}

#[tokio::test]
async fn dead_letters_hold_the_whole_event_on_every_host() {
    let Some(server) = NatsServer::start(&[]) else { return };
    let (here, there) = (host(&server, None).await, host(&server, None).await);
    let mut work = connect(&here).await.subscribe(durable("order.>", "billing")).await.unwrap();
    connect(&here).await.publish_acknowledged(order("1"), Ack::Durable).await.unwrap();
    let number = work.next().await.unwrap().number;
    work.rejected(number, "no such customer");
    let dlq = async |args: &[&str]| there.cli(&[&["events", "dlq"], args].concat()).await;
    let listed = eventually("the dead letter", async || {
        let listed = dlq(&["list", "-o", "json"]).await.json();
        listed["letters"].get(0).cloned()
    });
    let id = listed.await["id"].as_str().unwrap().to_owned();
    let shown = dlq(&["show", &id, "-o", "json"]).await.json();
    assert_eq!(shown["event"]["data"], json!({"items": [1, 2]}));
    assert_eq!((&shown["event"]["id"], &shown["event"]["source"]), (&json!("1"), &json!("/shop")));
    assert_eq!((&shown["subscription"], &shown["reason"]), (&json!("billing"), &json!("no such customer")));
    // A host without the name cannot deliver it.
    let nobody = dlq(&["redrive", &id]).await;
    assert!(nobody.code == 1 && nobody.err.contains("no subscription billing"), "{nobody:#?}");
    let mut other = connect(&there).await.subscribe(durable("order.>", "billing")).await.unwrap();
    assert_eq!(dlq(&["redrive", &id]).await.ok(), "delivered 1 dead letter again\n");
    assert_eq!(handle(&mut other).await.id(), "1");
    eventually("it is gone from both", async || {
        let listed = here.cli(&["events", "dlq", "list", "-o", "json"]).await.json();
        (listed["letters"] == json!([])).then_some(())
    })
    .await;
}

/// Starts a host with these lines of `events.nats` beside the servers, and says whether it keeps an event; or why it did not start.
async fn keeps(server: &NatsServer, lines: &str) -> Result<(), String> {
    let config = server.config("[order.>]", lines);
    let daemon = Daemon::builder().program(binary_with_nats()).config(config).env("SECRET", "s3cret").spawn();
    if daemon.process().wrote("Ctrl-C drains").await {
        connect(&daemon).await.publish_acknowledged(order("1"), Ack::Durable).await.unwrap();
        return Ok(());
    }
    let (ran, _home) = daemon.ended().await;
    assert!(ran.code != 0 && ran.err.contains("cannot keep events in NATS at "), "{ran:#?}");
    assert!(!ran.err.contains("s3cret"), "{}", ran.err);
    Err(ran.err)
}

#[tokio::test]
async fn a_server_knows_the_host_by_its_password_or_token() {
    let Some(server) = NatsServer::start(&["--user", "shop", "--pass", "s3cret"]) else { return };
    keeps(&server, ", user: shop, password: \"${env:SECRET}\"").await.unwrap();
    for wrong in ["", ", user: other, password: \"${env:SECRET}\"", ", token: \"${env:SECRET}\""] {
        let error = keeps(&server, wrong).await.unwrap_err();
        assert!(error.contains("authorization violation"), "{error}");
    }
    let Some(server) = NatsServer::start(&["--auth", "s3cret"]) else { return };
    keeps(&server, ", token: \"${env:SECRET}\"").await.unwrap();
    let error = keeps(&server, ", token: \"no\"").await.unwrap_err();
    assert!(error.contains("authorization violation"), "{error}");
}

#[tokio::test]
async fn a_server_and_the_host_know_each_other_by_their_certificates() {
    let (ours, others) = (Certificates::new(), Certificates::new());
    let [server_side, host, stranger] = [(&ours, "server"), (&ours, "host"), (&others, "stranger")]
        .map(|(by, name)| by.issue(name, &format!("spiffe://example.org/{name}")));
    let text = |path: &Path| path.display().to_string();
    let (cert, key, ca) = (text(&server_side.cert), text(&server_side.key), text(ours.ca()));
    let tls = ["--tls", "--tlsverify", "--tlscert", &cert, "--tlskey", &key, "--tlscacert", &ca];
    let Some(server) = NatsServer::start(&tls) else { return };
    let lines = |ca: &Path, identity: &Identity| {
        format!(", tls: {{ca: {}, cert: {}, key: {}}}", text(ca), text(&identity.cert), text(&identity.key))
    };
    keeps(&server, &lines(ours.ca(), &host)).await.unwrap();
    // Neither a server of somebody else nor a host of somebody else will do, nor one without a certificate.
    keeps(&server, &lines(others.ca(), &host)).await.unwrap_err();
    keeps(&server, &lines(ours.ca(), &stranger)).await.unwrap_err();
    keeps(&server, &format!(", tls: {{ca: {}}}", text(ours.ca()))).await.unwrap_err();
}
