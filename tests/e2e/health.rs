//! Instances that say how they are.

use plugmesh::admin::v1::InstanceState;
use plugmesh_tests::probe::ControlRequest;
use plugmesh_tests::probe::probe_service_client::ProbeServiceClient;
use plugmesh_tests::probe::probe_service_server::SERVICE_NAME;
use plugmesh_tests::{Daemon, PluginDir, connect_unix};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::calls::echo;

/// Tells an instance how to be, on its own socket, and waits until the host knows.
async fn set(daemon: &Daemon, ordinal: usize, serving: bool) {
    let address = daemon.instance("probe", ordinal).await.address;
    let channel = connect_unix(address.strip_prefix("unix://").unwrap());
    let control = ControlRequest { serving: Some(serving), ..Default::default() };
    ProbeServiceClient::new(channel).control(control).await.unwrap();
    let state = if serving { InstanceState::Ready } else { InstanceState::Unhealthy };
    daemon.wait_for("probe", |plugin| plugin.instances[ordinal].state() == state).await;
}

async fn gateway_says(daemon: &Daemon, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.into() };
    HealthClient::new(daemon.channel()).check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn an_unwell_instance_is_not_picked_until_it_is_well() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(2)).start().await;
    let who = async || daemon.probe().echo(echo("", 0)).await.map(|answer| answer.into_inner().instance);
    set(&daemon, 0, false).await;
    for _ in 0..50 {
        assert_eq!(who().await.unwrap(), "probe-1");
    }
    assert_eq!(gateway_says(&daemon, SERVICE_NAME).await, ServingStatus::Serving);

    set(&daemon, 1, false).await;
    let status = who().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let text = status.message();
    assert!(text.starts_with("the plugin probe has no ready instance: probe-0 "), "{text}");
    assert_eq!(gateway_says(&daemon, SERVICE_NAME).await, ServingStatus::NotServing);

    set(&daemon, 0, true).await;
    for _ in 0..50 {
        assert_eq!(who().await.unwrap(), "probe-0");
    }
    set(&daemon, 1, true).await;
    plugmesh_tests::eventually("both are picked", async || (who().await.ok()? == "probe-1").then_some(()))
        .await;
    assert_eq!(gateway_says(&daemon, SERVICE_NAME).await, ServingStatus::Serving);
    let restarts = daemon.plugin("probe").await.instances.iter().map(|it| it.restarts).sum::<u32>();
    assert_eq!(restarts, 0, "being unwell is no reason for a restart");
}

#[tokio::test]
async fn the_gateway_follows_and_knows_what_it_does_not_know() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).start().await;
    let request = HealthCheckRequest { service: SERVICE_NAME.into() };
    let mut watch = HealthClient::new(daemon.channel()).watch(request).await.unwrap().into_inner();
    let mut next = async || watch.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::Serving);
    set(&daemon, 0, false).await;
    assert_eq!(next().await, ServingStatus::NotServing);
    set(&daemon, 0, true).await;
    assert_eq!(next().await, ServingStatus::Serving);

    let unknown = HealthCheckRequest { service: "no.Such".into() };
    let status = HealthClient::new(daemon.channel()).check(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(gateway_says(&daemon, "").await, ServingStatus::Serving);
}
