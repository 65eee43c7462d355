//! Handshake, phases, drain.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use plugmesh::plugin::v1::{DrainRequest, HandshakeRequest, Phase, RunPhaseRequest};
use plugmesh_sdk::{BoxError, Context, Lifecycle, json};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{Client, PROBE, Probe, Running, SOON, handshake, plugin, session, wait_until};

#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

#[derive(serde::Deserialize)]
struct Config {
    greeting: String,
}

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn read(&self) -> String {
        self.0.lock().unwrap().join(" ")
    }
}

impl Lifecycle for Diary {
    type Config = Config;

    async fn pre_init(&self, _: &Context) -> Result<(), BoxError> {
        self.note("pre_init");
        Ok(())
    }

    async fn init(&self, context: &Context, config: Config) -> Result<(), BoxError> {
        let host = context.host().unwrap_or_default().id;
        self.note(format!("init({}, {host})", config.greeting));
        if config.greeting == "bad" { Err("no such greeting".into()) } else { Ok(()) }
    }

    async fn post_init(&self, _: &Context) -> Result<(), BoxError> {
        panic!("a lifecycle's panic")
    }

    async fn pre_cleanup(&self, _: &Context) -> Result<(), BoxError> {
        self.note("pre_cleanup");
        Ok(())
    }

    async fn cleanup(&self, _: &Context) -> Result<(), BoxError> {
        self.note("cleanup");
        Ok(())
    }
}

fn phase(phase: Phase, config: &str) -> RunPhaseRequest {
    RunPhaseRequest { session: Some(session(1)), phase: phase.into(), config_json: config.into() }
}

#[tokio::test]
async fn a_handshake_tells_who_the_plugin_is() {
    let schema = json!({"type": "object"});
    let plugin = plugin()
        .description("Probes")
        .label("lang", "rust")
        .requires("text", "^1")
        .config_schema(schema.clone())
        .service(Probe::default());
    let running = Running::start(plugin).await;
    let answer = running.contract().handshake(handshake(1)).await.unwrap().into_inner();
    let metadata = answer.metadata.unwrap();
    assert_eq!((metadata.name.as_str(), metadata.version.as_str()), ("probe", "1.2.3"));
    assert_eq!(metadata.labels["lang"], "rust");
    assert_eq!(answer.services, [PROBE]);
    assert_eq!((answer.contracts[0].contract.as_str(), answer.contracts[0].version), ("plugmesh.plugin", 1));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&answer.config_schema_json).unwrap(), schema);
    assert_eq!(answer.dependencies[0].plugin, "text");
}

#[tokio::test]
async fn a_host_of_another_version_learns_ours_and_gets_no_session() {
    let running = Running::start(plugin()).await;
    let mut newer = handshake(1);
    newer.contracts[0].versions = vec![2];
    let answer = running.contract().handshake(newer).await.unwrap().into_inner();
    assert_eq!(answer.contracts[0].version, 1);
    assert!(running.context.host().is_none());
}

#[tokio::test]
async fn a_session_needs_an_id_and_an_epoch_that_is_not_over() {
    let running = Running::start(plugin()).await;
    let nameless = HandshakeRequest { session: None, ..handshake(1) };
    assert_eq!(running.contract().handshake(nameless).await.unwrap_err().code(), Code::InvalidArgument);
    running.contract().handshake(handshake(2)).await.unwrap();
    let status = running.contract().handshake(handshake(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
}

#[tokio::test]
async fn phases_run_once_with_the_configuration_and_clean_up_follows_by_itself() {
    let diary = Arc::new(Diary::default());
    let running = Running::start(plugin().lifecycle(Arc::clone(&diary))).await;
    let mut contract = running.contract();
    let early = contract.run_phase(phase(Phase::PreInit, "")).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);

    contract.handshake(handshake(1)).await.unwrap();
    contract.run_phase(phase(Phase::PreInit, "")).await.unwrap();
    contract.run_phase(phase(Phase::Init, r#"{"greeting": "hi"}"#)).await.unwrap();
    let again = contract.run_phase(phase(Phase::Init, r#"{"greeting": "hi"}"#)).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    let panicked = contract.run_phase(phase(Phase::PostInit, "")).await.unwrap_err();
    assert_eq!(panicked.code(), Code::Internal);

    running.context.shut_down();
    running.ended().await.unwrap();
    assert_eq!(diary.read(), "pre_init init(hi, host) pre_cleanup cleanup");
}

#[tokio::test]
async fn a_failed_phase_tells_the_operator_why() {
    let running = Running::start(plugin().lifecycle(Diary::default())).await;
    let mut contract = running.contract();
    contract.handshake(handshake(1)).await.unwrap();
    let status = contract.run_phase(phase(Phase::Init, r#"{"greeting": "bad"}"#)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unknown, "no such greeting"));

    contract.handshake(HandshakeRequest { session: Some(session(2)), ..handshake(2) }).await.unwrap();
    let request = RunPhaseRequest { session: Some(session(2)), ..phase(Phase::Init, "{}") };
    let status = contract.run_phase(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("missing field `greeting`"), "{status}");
}

#[tokio::test]
async fn a_plugin_without_a_lifecycle_needs_no_phases() {
    let running = Running::start(plugin()).await;
    running.contract().handshake(handshake(1)).await.unwrap();
    let status = running.contract().run_phase(phase(Phase::PreInit, "")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn drain_waits_for_calls_and_a_new_session_serves_again() {
    let probe = Probe::default();
    let running = Running::start(plugin().service(probe.clone())).await;
    let mut contract = running.contract();
    contract.handshake(handshake(1)).await.unwrap();
    let mut client = Client::new(running.channel());
    let held = tokio::spawn(async move { client.call("Hold", "").await });
    wait_until(async || running.context.in_flight() == 1).await;

    let grace = prost_types::Duration { seconds: 0, nanos: 1_000_000 };
    let drain = DrainRequest { session: Some(session(1)), grace: Some(grace) };
    assert_eq!(contract.drain(drain).await.unwrap().into_inner().in_flight, 1);
    assert_eq!(running.health("").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(running.health(PROBE).await.unwrap(), ServingStatus::NotServing);
    // A call that was on its way is answered.
    Client::new(running.channel()).call("Echo", "").await.unwrap();

    let drain = DrainRequest { session: Some(session(1)), grace: None };
    let drained = tokio::spawn(async move { contract.drain(drain).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!drained.is_finished());
    probe.release();
    assert_eq!(held.await.unwrap().unwrap(), "held");
    let answer = tokio::time::timeout(SOON, drained).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_inner().in_flight, 0);

    running.contract().handshake(handshake(2)).await.unwrap();
    assert_eq!(running.health("").await.unwrap(), ServingStatus::Serving);
}
