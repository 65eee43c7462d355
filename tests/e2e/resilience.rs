//! What a stock client sees of instances that fail or are slow.

use std::time::{Duration, Instant};

use plugmesh_tests::probe::{ControlRequest, Failures};
use plugmesh_tests::{Daemon, PluginDir, Ran, tools};
use tonic::Code;

use crate::calls::pinned;

const ECHO: &str = "probe.v1.ProbeService/Echo";

/// Two probes that take calls in turn, of which the second one fails or is slow as `control` says.
async fn probes(policy: &str, control: ControlRequest) -> Daemon {
    let policies = format!("policies: {{{ECHO}: {{{policy}}}}}");
    let plugin = PluginDir::probe(2).line("balance: {policy: round_robin}").line(&policies);
    let daemon = Daemon::builder().plugin(plugin).start().await;
    daemon.probe().control(pinned(control, "probe-1")).await.unwrap();
    daemon
}

fn unavailable(times: u32, pushback: &str) -> ControlRequest {
    let failures = Failures { times, code: Code::Unavailable as i32, pushback: pushback.into() };
    ControlRequest { failures: Some(failures), ..ControlRequest::default() }
}

/// As many calls by grpcurl.
async fn calls(daemon: &Daemon, count: usize) -> Vec<Ran> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(daemon.grpcurl(&["-d", "{}", ECHO]).await);
    }
    all
}

fn lost(calls: &[Ran]) -> usize {
    calls.iter().filter(|ran| ran.code == 64 + Code::Unavailable as i32).count()
}

#[tokio::test]
async fn failures_of_an_idempotent_method_are_hidden_and_the_instance_gets_a_rest() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let policy = "idempotency: idempotent, retry: {initial_interval: 1ms}";
    let daemon = probes(policy, unavailable(1000, "")).await;
    let calls = calls(&daemon, 12).await;
    assert!(calls.iter().all(|ran| ran.code == 0), "{calls:#?}");
    // In turn: the second of two calls met the failure, and says that it is the second attempt ("1" in base64).
    assert!(
        calls
            .iter()
            .any(|ran| ran.out.contains("\"grpc-previous-rpc-attempts\"") && ran.out.contains("MQ=="))
    );
    let explained = daemon.cli(&["explain", ECHO]).await.ok();
    let second = explained.lines().find(|line| line.contains("probe-1")).unwrap();
    assert!(second.contains("open") && second.contains("no"), "{explained}");
    assert!(explained.contains("idempotency") && explained.contains("method"), "{explained}");
    let retries = daemon.metrics().await.value("plugmesh_calls_retries_total", &[("rpc_method", ECHO)]);
    assert!(retries.is_some_and(|retries| (1.0..=12.0).contains(&retries)), "{retries:?}");
}

#[tokio::test]
async fn nothing_is_done_twice_that_nobody_has_called_idempotent() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = probes("idempotency: unknown", unavailable(2, "")).await;
    let calls = calls(&daemon, 6).await;
    assert_eq!(lost(&calls), 2, "{calls:#?}");
}

#[tokio::test]
async fn a_server_that_wants_no_more_attempts_gets_none() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = probes("idempotency: idempotent", unavailable(2, "-1")).await;
    let calls = calls(&daemon, 6).await;
    assert_eq!(lost(&calls), 2, "{calls:#?}");
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_come_back() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon =
        probes("rate_limit: {requests_per_second: 0.01, burst_size: 1}", ControlRequest::default()).await;
    let calls = calls(&daemon, 2).await;
    assert_eq!(calls[0].code, 0, "{calls:#?}");
    assert_eq!(calls[1].code, 64 + Code::ResourceExhausted as i32, "{calls:#?}");
    // grpcurl learns by reflection how to show it.
    assert!(
        calls[1].err.contains("google.rpc.RetryInfo") && calls[1].err.contains("retryDelay"),
        "{calls:#?}"
    );
}

#[tokio::test]
async fn a_slow_instance_is_hedged() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let slow = ControlRequest { delay_ms: Some(60_000), ..ControlRequest::default() };
    let daemon = probes("idempotency: idempotent, hedging: {delay: 20ms}", slow).await;
    let began = Instant::now();
    let calls = calls(&daemon, 4).await;
    assert!(calls.iter().all(|ran| ran.code == 0), "{calls:#?}");
    assert!(began.elapsed() < Duration::from_secs(60), "somebody waited for the slow one");
}
