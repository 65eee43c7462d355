//! Plugins that take part in events, through the real daemon.

use std::collections::BTreeMap;
use std::time::Duration;

use plugmesh::event::v1::event_bus_service_client::EventBusServiceClient;
use plugmesh::event::v1::{DeadLetter, ListDeadLettersRequest};
use plugmesh_sdk::events::{Ack, Event, EventError, Events, Subscriber, Subscription};

use plugmesh_tests::{DEADLINE, Daemon, PluginDir, eventually};
use tonic::Code;

fn job(name: &str, id: &str, what: &str) -> Event {
    Event::builder(&format!("job.{name}"), "/test").id(id).json(what).unwrap().build().unwrap()
}

/// Somebody who publishes jobs and sees what is done.
struct Boss {
    events: Events,
    done: Subscriber,
}

/// What was done: the id of the job, which instance did it, and at which attempt.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    id: String,
    instance: String,
    attempt: u32,
    event: Event,
}

impl Boss {
    async fn of(daemon: &Daemon) -> Self {
        let events = Events::connect(daemon.channel(), "boss").await.unwrap();
        let to_done = Subscription { patterns: vec!["done.>".to_owned()], ..Subscription::default() };
        let done = events.subscribe(to_done).await.unwrap();
        Self { events, done }
    }

    async fn ask(&self, job: Event) {
        let outcome = self.events.publish_acknowledged(job, Ack::Accepted).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    async fn done(&mut self) -> Done {
        let next = tokio::time::timeout(DEADLINE, self.done.next()).await;
        let event = next.expect("something is done").unwrap().event;
        let data: serde_json::Value = event.json().unwrap();
        Done {
            id: event.attribute("subject").unwrap().to_text().into_owned(),
            instance: event.source().to_owned(),
            attempt: data["attempt"].as_u64().unwrap() as u32,
            event,
        }
    }
}

async fn dead_letters(daemon: &Daemon, count: usize) -> Vec<DeadLetter> {
    let mut client = EventBusServiceClient::new(daemon.channel());
    eventually("dead letters", async || {
        let listed = client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap();
        Some(listed.into_inner().letters).filter(|letters| letters.len() >= count)
    })
    .await
}

#[tokio::test]
async fn instances_of_a_plugin_share_the_events_that_it_declares() {
    let daemon = Daemon::builder().plugin(PluginDir::listener(3)).start().await;
    daemon.wait_ready("listener").await;
    let mut boss = Boss::of(&daemon).await;
    for id in 0..300 {
        boss.ask(job("work", &id.to_string(), "ok")).await;
    }
    let mut shares = BTreeMap::<String, usize>::new();
    let mut ids = Vec::new();
    for _ in 0..300 {
        let done = boss.done().await;
        *shares.entry(done.instance).or_default() += 1;
        ids.push(done.id.parse::<u32>().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..300).collect::<Vec<_>>(), "each of them once");
    assert_eq!(shares.len(), 3, "{shares:?}");
}

#[tokio::test]
async fn what_handlers_fail_at_comes_again_or_is_given_up_with_their_words() {
    let daemon = Daemon::builder().plugin(PluginDir::listener(1)).start().await;
    daemon.wait_ready("listener").await;
    let mut boss = Boss::of(&daemon).await;
    boss.ask(job("a", "1", "fail")).await;
    let done = boss.done().await;
    assert_eq!((done.id.as_str(), done.attempt), ("1", 2));
    boss.ask(job("b", "2", "panic")).await;
    boss.ask(job("c", "3", "reject")).await;
    let mut letters = dead_letters(&daemon, 2).await;
    letters.sort_by_key(|letter| letter.event.as_ref().unwrap().id.clone());
    let told: Vec<_> = letters.iter().map(|letter| (letter.attempts, letter.reason.as_str())).collect();
    assert_eq!(told, [(3, "the handler panicked: no such job"), (1, "never")]);
    assert_eq!(letters[0].subscription, "listener");
    assert_eq!(daemon.instance("listener", 0).await.restarts, 0, "a panic is no end of the process");
}

#[tokio::test]
async fn what_a_plugin_was_at_when_it_died_is_delivered_again() {
    let daemon = Daemon::builder().plugin(PluginDir::listener(1)).start().await;
    daemon.wait_ready("listener").await;
    let mut boss = Boss::of(&daemon).await;
    boss.ask(job("a", "1", "exit")).await;
    boss.ask(job("b", "2", "ok")).await;
    let mut done = [boss.done().await, boss.done().await].map(|done| (done.id, done.attempt));
    done.sort();
    assert_eq!(done[0], ("1".to_owned(), 2));
    assert_eq!(done[1].0, "2");
}

#[tokio::test]
async fn a_trace_goes_from_the_publisher_through_the_handler() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let daemon = Daemon::builder().plugin(PluginDir::listener(1)).start().await;
    daemon.wait_ready("listener").await;
    let mut boss = Boss::of(&daemon).await;
    boss.ask(job("a", "1", "ok").with_attribute("traceparent", TRACE).unwrap()).await;
    let done = boss.done().await;
    assert_eq!(done.event.attribute("traceparent").unwrap().to_text(), TRACE);
}

#[tokio::test]
async fn a_plugin_that_is_replaced_loses_no_event() {
    let daemon = Daemon::builder().plugin(PluginDir::listener(2)).start().await;
    daemon.wait_ready("listener").await;
    let mut boss = Boss::of(&daemon).await;
    let publishing = tokio::spawn({
        let events = boss.events.clone();
        async move {
            for id in 0..2000_u32 {
                events.publish_acknowledged(job("a", &id.to_string(), "ok"), Ack::Accepted).await.unwrap();
            }
        }
    });
    for _ in 0..2 {
        let ran = daemon.cli(&["reload", "listener"]).await;
        ran.ok();
    }
    publishing.await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..2000 {
        ids.push(boss.done().await.id.parse::<u32>().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..2000).collect::<Vec<_>>());
    assert!(dead_letters(&daemon, 0).await.is_empty());
}

#[tokio::test]
async fn a_plugin_may_only_what_it_was_allowed_and_says_so_when_it_starts() {
    for (line, env, part) in [
        ("events: {subscribe: [other.>]}", None, "\"job.*\" is not among the topics"),
        ("events: {publish: [other.>]}", None, "says that it publishes \"done.>\""),
        ("", Some(("LISTENER_PATTERN", "job..x")), "empty token"),
        ("", Some(("LISTENER_DURABLE", "jobs")), "keeps no journal"),
    ] {
        let mut plugin = PluginDir::listener(1).line(line);
        if let Some((name, value)) = env {
            plugin = plugin.env(name, value);
        }
        let daemon = Daemon::builder().plugin(plugin).start().await;
        daemon.logged(part).await;
    }
}

#[tokio::test]
async fn what_is_not_declared_may_not_be_published() {
    // It publishes done.a, and says that it publishes others.
    let plugin = PluginDir::listener(1).env("LISTENER_PUBLISHES", "other.>");
    let daemon = Daemon::builder().plugin(plugin).start().await;
    daemon.wait_ready("listener").await;
    let boss = Boss::of(&daemon).await;
    boss.ask(job("a", "1", "ok")).await;
    let letters = dead_letters(&daemon, 1).await;
    assert!(letters[0].reason.contains("\"done.a\" is not among the topics"), "{}", letters[0].reason);
}

#[tokio::test]
async fn a_durable_name_gets_what_was_published_while_nobody_was_there() {
    let journal = "events: {journal: {path: events.db, topics: [{pattern: job.*, fsync: os}]}}";
    let plugin = || PluginDir::listener(1).env("LISTENER_DURABLE", "jobs");
    let daemon = Daemon::builder().config(journal).plugin(plugin()).start().await;
    daemon.wait_ready("listener").await;
    let mut boss = Boss::of(&daemon).await;
    boss.ask(job("a", "1", "ok")).await;
    assert_eq!(boss.done().await.id, "1");
    daemon.cli(&["disable", "listener"]).await.ok();
    let outcome = boss.events.publish_acknowledged(job("a", "2", "ok"), Ack::Durable).await.unwrap();
    assert!(!outcome.duplicate);
    let outcome = boss.events.publish_acknowledged(job("a", "2", "ok"), Ack::Durable).await.unwrap();
    assert!(outcome.duplicate);
    let elsewhere = Event::builder("done.x", "/test").build().unwrap();
    let refused = boss.events.publish_acknowledged(elsewhere, Ack::Durable).await;
    assert!(matches!(refused, Err(EventError::Refused(status)) if status.code() == Code::FailedPrecondition));
    daemon.cli(&["enable", "listener"]).await.ok();
    assert_eq!(boss.done().await.id, "2");
}

#[tokio::test]
async fn the_example_writes_down_what_happens() {
    let example = PluginDir::command("audit-log", plugmesh_tests::binary("audit-log"));
    let daemon = Daemon::builder().plugin(example).start().await;
    daemon.wait_ready("audit-log").await;
    let events = Events::connect(daemon.channel(), "a shop").await.unwrap();
    for (topic, data) in [
        ("user.login", serde_json::json!({"user": "ada", "address": "127.0.0.1"})),
        ("user.logout", serde_json::json!({"user": "ada", "seconds": 12})),
        ("service.error", serde_json::json!({"service": "cart", "message": "no stock", "code": "NOT_FOUND"})),
    ] {
        let event = Event::builder(topic, "/shop").json(&data).unwrap().build().unwrap();
        let handled = events.publish_acknowledged(event, Ack::Handled).await.unwrap();
        assert!(handled.given_up.is_empty());
    }
    let odd = Event::builder("user.login", "/shop").text("not JSON").build().unwrap();
    assert_eq!(events.publish_acknowledged(odd, Ack::Handled).await.unwrap().given_up, ["audit-log"]);
    let lines = eventually("its lines", async || {
        let ran = daemon.cli(&["logs", "audit-log"]).await;
        Some(ran.ok()).filter(|out| out.contains("no stock"))
    })
    .await;
    for part in ["user came", "user=ada", "address=127.0.0.1", "user went", "seconds=12", "service=cart"] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    tokio::time::timeout(Duration::from_secs(30), daemon.stop()).await.unwrap();
}
