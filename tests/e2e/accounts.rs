//! The example plugin in Python that publishes events, and the example in Rust that writes them down.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use plugmesh::admin::v1::PluginState;
use plugmesh::event::v1::event_bus_service_client::EventBusServiceClient;
use plugmesh::event::v1::{GetStatsRequest, ReplayRequest};
use plugmesh_sdk::events::{Event, Events, Subscription};
use plugmesh_tests::{DEADLINE, Daemon, DaemonBuilder, PluginDir, Ran, binary, eventually};
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::calls::with;
use crate::python::ACCOUNTS;

/// The plugin asks for what only a journal can promise, and there is one.
const DURABLE: &str = "  accounts: {config: {ack: durable}}\n\
                       events: {journal: {path: events.db, topics: [{pattern: user.*, fsync: os}]}}\n";

/// Callers at the same time.
const CALLERS: usize = 8;

/// As in `accounts.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct SignInRequest {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    address: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SignInResponse {
    #[prost(string, tag = "1")]
    session: String,
}

fn described(config: &str) -> DaemonBuilder {
    ACCOUNTS.daemon(config).plugin(PluginDir::command("audit-log", binary("audit-log")))
}

fn ada() -> SignInRequest {
    SignInRequest { user: "ada".to_owned(), address: "192.0.2.7".to_owned() }
}

async fn sign_in(channel: Channel, request: Request<SignInRequest>) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/accounts.v1.AccountsService/SignIn");
    let answer: SignInResponse =
        client.unary(request, path, tonic_prost::ProstCodec::default()).await?.into_inner();
    Ok(answer.session)
}

async fn sign_out(daemon: &Daemon, session: &str) -> Ran {
    let request = format!(r#"{{"session": "{session}"}}"#);
    daemon.cli(&["call", "accounts.v1.AccountsService/SignOut", "-d", &request]).await
}

/// The line that audit-log has written of this user.
async fn written(daemon: &Daemon, what: &str, user: &str) -> String {
    let is_it = |line: &&str| line.contains(what) && line.contains(&format!(r#""user":"{user}""#));
    eventually(what, async || daemon.log().lines().find(is_it).map(str::to_owned)).await
}

/// Users whose coming audit-log has written down.
fn came(daemon: &Daemon) -> BTreeSet<String> {
    let log = daemon.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let came = lines.filter(|line| line["message"] == "user came");
    came.filter_map(|line| line["fields"]["user"].as_str().map(str::to_owned)).collect()
}

/// Users of `user.login` in the journal, and how often each is there.
async fn recorded(daemon: &Daemon) -> BTreeMap<String, usize> {
    let request = ReplayRequest { patterns: vec!["user.login".to_owned()], ..ReplayRequest::default() };
    let mut replay = EventBusServiceClient::new(daemon.channel()).replay(request).await.unwrap().into_inner();
    let mut users = BTreeMap::new();
    while let Some(response) = replay.message().await.unwrap() {
        let event = Event::try_from(&response.event.unwrap()).unwrap();
        *users.entry(event.attribute("subject").unwrap().to_text().into_owned()).or_default() += 1;
    }
    users
}

/// Signs users in, each with a name of its own, until it is told to stop. Gives those who are in, and how the others failed.
async fn crowd(channel: Channel, number: usize, stop: CancellationToken) -> (Vec<String>, Vec<Status>) {
    let (mut signed_in, mut failed) = (Vec::new(), Vec::new());
    for count in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let user = format!("user-{number}-{count}");
        let mut request = Request::new(SignInRequest { user: user.clone(), address: String::new() });
        request.set_timeout(DEADLINE);
        match sign_in(channel.clone(), request).await {
            Ok(_) => signed_in.push(user),
            Err(status) => failed.push(status),
        }
    }
    (signed_in, failed)
}

/// A crowd signs in while something is done to the plugin. Gives those who are in, and how the others failed.
async fn while_many_sign_in(daemon: &Daemon, disturb: impl AsyncFnOnce()) -> (Vec<String>, Vec<Status>) {
    let stop = CancellationToken::new();
    let crowds: Vec<_> =
        (0..CALLERS).map(|number| tokio::spawn(crowd(daemon.channel(), number, stop.clone()))).collect();
    // They are at it before, and after.
    hundred_published(daemon).await;
    disturb().await;
    hundred_published(daemon).await;
    stop.cancel();
    let (mut signed_in, mut failed) = (Vec::new(), Vec::new());
    for crowd in crowds {
        let (users, errors) = crowd.await.unwrap();
        signed_in.extend(users);
        failed.extend(errors);
    }
    (signed_in, failed)
}

/// Waits until a hundred more events are published.
async fn hundred_published(daemon: &Daemon) {
    let mut bus = EventBusServiceClient::new(daemon.channel());
    let mut published = async || bus.get_stats(GetStatsRequest {}).await.unwrap().into_inner().published;
    let before = published().await;
    eventually("events are published", async || (published().await >= before + 100).then_some(())).await;
}

#[tokio::test]
async fn who_comes_and_goes_is_written_down() {
    let Some(()) = ACCOUNTS.built().await else { return };
    let daemon = described("").start().await;
    let plugin = daemon.plugin("accounts").await;
    assert_eq!((plugin.state(), plugin.tier), (PluginState::Ready, 2), "{plugin:#?}");
    let session = sign_in(daemon.channel(), Request::new(ada())).await.unwrap();
    let came = written(&daemon, "user came", "ada").await;
    assert!(came.contains(r#""address":"192.0.2.7""#) && came.contains(r#""source":"/accounts""#), "{came}");
    let seconds = sign_out(&daemon, &session).await.json();
    assert!(seconds["seconds"].is_u64(), "{seconds}");
    let went = written(&daemon, "user went", "ada").await;
    assert!(went.contains(r#""seconds":"#), "{went}");

    let again = sign_out(&daemon, &session).await.failed(64 + Code::NotFound as i32);
    assert!(again.contains("there is no such session"), "{again}");
    let nobody = sign_in(daemon.channel(), Request::new(SignInRequest::default())).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::InvalidArgument, "user: 1 to 256 characters"));
    assert_eq!(daemon.stop().await.code, 0);
}

#[tokio::test]
async fn an_event_carries_the_trace_of_the_call_that_it_is_of() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let Some(()) = ACCOUNTS.built().await else { return };
    let daemon = described("").start().await;
    let events = Events::connect(daemon.channel(), "a test").await.unwrap();
    let to_all = Subscription { patterns: vec!["user.*".to_owned()], ..Subscription::default() };
    let mut subscriber = events.subscribe(to_all).await.unwrap();
    let traced = with(ada(), "traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    sign_in(daemon.channel(), traced).await.unwrap();
    let event = tokio::time::timeout(DEADLINE, subscriber.next()).await.unwrap().unwrap().event;
    let text = |name: &str| event.attribute(name).unwrap().to_text().into_owned();
    assert_eq!(text("traceparent").split('-').nth(1), Some(TRACE));
    assert_eq!(text("datacontenttype"), "application/json");
    assert_eq!((text("subject"), text("partitionkey")), ("ada".to_owned(), "ada".to_owned()));
    let data: serde_json::Value = event.json().unwrap();
    assert_eq!(data, serde_json::json!({"user": "ada", "address": "192.0.2.7"}));
}

#[tokio::test]
async fn what_the_bus_refuses_ends_the_call_with_its_words() {
    let Some(()) = ACCOUNTS.built().await else { return };
    // No journal, and so nothing durable.
    let daemon = described("  accounts: {config: {ack: durable}}\n").start().await;
    let refused = sign_in(daemon.channel(), Request::new(ada())).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(
        refused.message().contains("user.login is not published: this host keeps no journal"),
        "{refused:?}"
    );

    let daemon = described("  accounts: {config: {ack: none}}\n").start().await;
    assert_eq!(daemon.plugin("accounts").await.state(), PluginState::Failed);
    assert!(daemon.log().contains("ack"), "{}", daemon.log());

    // What it says that it publishes must be within what it may.
    let daemon = described("  accounts: {events: {publish: [user.login]}}\n").start().await;
    daemon.logged("says that it publishes \"user.logout\"").await;
}

#[tokio::test]
async fn no_call_fails_while_the_plugin_is_replaced_and_each_event_is_recorded_once() {
    let Some(()) = ACCOUNTS.built().await else { return };
    let daemon = described(DURABLE).start().await;
    let reload = async || drop(daemon.cli(&["reload", "accounts"]).await.ok());
    let (signed_in, failed) = while_many_sign_in(&daemon, async || {
        reload().await;
        reload().await;
    })
    .await;
    assert!(failed.is_empty(), "{failed:#?}");
    let expected: BTreeMap<_, _> = signed_in.into_iter().map(|user| (user, 1)).collect();
    assert_eq!(recorded(&daemon).await, expected);
}

#[tokio::test]
async fn who_was_told_to_be_in_is_recorded_whoever_is_killed() {
    let Some(()) = ACCOUNTS.built().await else { return };
    let daemon = described(DURABLE).start().await;
    let (signed_in, failed) = while_many_sign_in(&daemon, async || {
        for name in ["audit-log", "accounts"] {
            let before = daemon.instance(name, 0).await;
            kill_process(Pid::from_raw(before.pid as i32).unwrap(), Signal::KILL).unwrap();
            daemon.wait_restarted(name, &before.instance_id).await;
        }
    })
    .await;
    // Those who were being let in when the plugin was killed, or came while it was not there.
    assert!(failed.iter().all(|status| status.code() == Code::Unavailable), "{failed:#?}");
    let recorded = recorded(&daemon).await;
    let lost: Vec<_> = signed_in.iter().filter(|user| !recorded.contains_key(*user)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // And whoever is recorded is written down, also what audit-log was at when it was killed.
    eventually("all are written down", async || {
        let written = came(&daemon);
        recorded.keys().all(|user| written.contains(user)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn its_stream_keeps_to_the_contract() {
    let Some(()) = ACCOUNTS.built().await else { return };
    let mut tests = Command::new(ACCOUNTS.directory().join(".venv/bin/python"));
    tests.args(["-m", "unittest"]).env("PYTHONPATH", "generated:../../python");
    tests.current_dir(ACCOUNTS.directory());
    Ran::of(&mut tests).await.ok();
}
