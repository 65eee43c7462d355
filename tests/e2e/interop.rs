//! The official interoperability client of grpc-go, through the gateway to a plugin.
//!
//! These cases of its `-help` are left out:
//!
//! - `compute_engine_creds`, `service_account_creds`, `jwt_token_creds`, `per_rpc_creds`, `oauth2_auth_token`,
//!   `google_default_credentials` and `compute_engine_channel_credentials` need an account at Google; so does ALTS.
//!
//! What the specification of the cases has and this client does not offer: compressed unary and streaming calls
//! (`calls` tests compression with another client), `cacheable_unary`, which is not implemented for HTTP/2
//! servers, and `concurrent_large_unary`, whose place `rpc_soak` with several threads takes.
//!
//! The plugin has one instance: `pick_first_unary` and `orca_oob` want every call of a connection to reach the same
//! server, and the gateway spreads them over instances.
//!
//! The client takes no certificate of its own, which the gateway wants over TLS: a tunnel does that part.

use std::net::SocketAddr;
use std::process::Command;

use plugmesh_tests::{Certificates, Daemon, Neighbour, PluginDir, Ran, Tunnel, tools};

const CASES: [&str; 16] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "pick_first_unary",
    "orca_per_rpc",
];

/// A bound on failures, not a measurement: other tests run beside.
const SOAK: [&str; 5] = [
    "-soak_iterations=40",
    "-soak_num_threads=4",
    "-soak_max_failures=0",
    "-soak_per_iteration_max_acceptable_latency_ms=30000",
    "-soak_overall_timeout_seconds=60",
];

/// Has the client put its reports of load where this case looks for them.
const ORCA: &str =
    "-service_config_json={\"loadBalancingConfig\": [{\"test_backend_metrics_load_balancer\": {}}]}";

async fn every_case(address: SocketAddr) {
    let run = async |case: &str, options: &[&str]| {
        let mut client = Command::new(tools::find("client").expect("asked before"));
        client.arg(format!("-server_host={}", address.ip())).arg(format!("-server_port={}", address.port()));
        let ran = Ran::of(client.arg(format!("-test_case={case}")).args(options)).await;
        assert_eq!(ran.code, 0, "{case}: {}", ran.err);
    };
    for case in CASES {
        let options: &[&str] = if case.starts_with("orca") { &[ORCA] } else { &[] };
        run(case, options).await;
    }
    run("orca_oob", &[ORCA]).await;
    for case in ["rpc_soak", "channel_soak"] {
        run(case, &SOAK).await;
    }
}

async fn served(config: &str) -> Daemon {
    let plugins = Daemon::builder().plugin(PluginDir::interop()).plugin(PluginDir::calculator(1));
    plugins.config(config).start().await
}

#[tokio::test]
async fn the_client_of_grpc_go_passes_in_plaintext() {
    if !tools::require_tool("client") {
        return;
    }
    let daemon = served("gateway:\n  tcp:\n    listen: 127.0.0.1:0\n    insecure: true\n").await;
    let neighbour = Neighbour::of(&daemon).await;
    every_case(daemon.tcp().await.parse().unwrap()).await;
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn the_client_of_grpc_go_passes_over_mutual_tls() {
    if !tools::require_tool("client") {
        return;
    }
    let certificates = Certificates::new();
    let daemon = served(&certificates.gateway()).await;
    let guest = certificates.issue("guest", "spiffe://example.org/guest");
    let tunnel = Tunnel::open(daemon.tcp().await, &certificates, &guest).await;
    every_case(tunnel.address()).await;
}
