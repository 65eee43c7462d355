//! How a plugin ends.

use std::os::fd::AsRawFd;
use std::time::Duration;

use futures_util::StreamExt;
use plugmesh::env;
use plugmesh_sdk::{BoxError, Context, Error, Lifecycle};
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{Client, Probe, Running, SOON, plugin, wait_until};

#[tokio::test]
async fn calls_in_flight_end_before_the_plugin_does() {
    let probe = Probe::default();
    let running = Running::start(plugin().service(probe.clone())).await;
    let mut health = HealthClient::new(running.channel());
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(health.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut stream = Client::new(running.channel()).stream("HoldStream", Request::new(String::new())).await;
    stream.next().await.unwrap().unwrap();

    running.context.shut_down();
    assert_eq!(health.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(health.next().await.is_none(), "the watch ends");
    wait_until(async || !running.socket.exists()).await;
    assert!(!running.has_ended(), "a call is in flight");

    probe.release();
    assert_eq!(stream.next().await.unwrap().unwrap(), "last");
    assert!(stream.next().await.is_none());
    running.ended().await.unwrap();
}

#[tokio::test]
async fn the_drain_time_bounds_the_end() {
    let plugin = plugin().service(Probe::default()).drain_timeout(Duration::from_millis(20));
    let running = Running::start(plugin).await;
    let mut client = Client::new(running.channel());
    let held = tokio::spawn(async move { client.call("Hold", "").await });
    wait_until(async || running.context.in_flight() == 1).await;
    running.context.shut_down();
    running.ended().await.unwrap();
    held.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn an_idle_plugin_ends() {
    let running = Running::start(plugin().idle_timeout(Duration::from_millis(30))).await;
    running.ended().await.unwrap();
}

#[tokio::test]
async fn a_plugin_ends_with_its_host() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let variables = [
        (env::LISTEN, format!("unix://{}", directory.path().join("socket").display())),
        (env::INSTANCE_ID, "i".into()),
        (env::LIFELINE_FD, reader.as_raw_fd().to_string()),
    ];
    let plugin = plugin();
    let context = plugin.context();
    let ended = tokio::spawn(plugin.environment(variables).serve());
    assert!(tokio::time::timeout(Duration::from_millis(50), context.stopping()).await.is_err());
    drop(writer);
    tokio::time::timeout(SOON, ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_lifeline_that_is_none_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let file = tempfile::tempfile().unwrap();
    let socket = directory.path().join("socket");
    let variables = [
        (env::LISTEN, format!("unix://{}", socket.display())),
        (env::INSTANCE_ID, "i".into()),
        (env::LIFELINE_FD, file.as_raw_fd().to_string()),
    ];
    let plugin = plugin();
    let context = plugin.context();
    let ended = tokio::spawn(plugin.environment(variables).serve());
    wait_until(async || socket.exists()).await;
    context.shut_down();
    tokio::time::timeout(SOON, ended).await.unwrap().unwrap().unwrap();
}

struct Picky;

impl Lifecycle for Picky {
    type Config = std::collections::HashMap<String, u32>;

    async fn init(&self, _: &Context, config: Self::Config) -> Result<(), BoxError> {
        if config.contains_key("good") { Ok(()) } else { Err("nothing good in it".into()) }
    }
}

#[tokio::test]
async fn without_a_host_the_plugin_runs_its_own_phases() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.json");
    let variables = || {
        [
            (env::LISTEN, format!("unix://{}", directory.path().join("socket").display())),
            (env::CONFIG_FILE, config.display().to_string()),
        ]
    };
    std::fs::write(&config, r#"{"bad": 1}"#).unwrap();
    let failed = plugin().lifecycle(Picky).environment(variables()).serve();
    let error = tokio::time::timeout(SOON, failed).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Start { .. }));
    assert_eq!(error.to_string(), "the plugin did not start: init failed: nothing good in it");

    std::fs::write(&config, r#"{"good": 1}"#).unwrap();
    let plugin = plugin().lifecycle(Picky);
    let context = plugin.context();
    let ended = tokio::spawn(plugin.environment(variables()).serve());
    let channel = crate::support::channel(&directory.path().join("socket"));
    wait_until(async || {
        let check = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
        check.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    })
    .await;
    context.shut_down();
    tokio::time::timeout(SOON, ended).await.unwrap().unwrap().unwrap();
}
