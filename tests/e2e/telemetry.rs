//! Metrics and traces of a real host.

use plugmesh_tests::probe::*;
use plugmesh_tests::{Daemon, PluginDir, Scrape};
use tonic::Code;

use crate::calls::echo;

const CLIENT: &str = "rpc_client_call_duration_seconds";
const SERVER: &str = "rpc_server_call_duration_seconds";

#[tokio::test]
async fn calls_are_counted_by_method_and_status() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(2)).start().await;
    let mut probe = daemon.probe();
    for _ in 0..7 {
        probe.echo(echo("", 0)).await.unwrap();
    }
    probe.echo(echo("", 30)).await.unwrap();
    // Its status comes after messages.
    let fails = ProduceRequest { count: 2, code: Code::DataLoss as i32, ..Default::default() };
    let mut stream = probe.produce(fails).await.unwrap().into_inner();
    let status = loop {
        if let Err(status) = stream.message().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::DataLoss);
    for made_up in ["/probe.v1.ProbeService/MadeUp", "/probe.v1.ProbeService/Another", "/made.Up/Too"] {
        let mut client = tonic::client::Grpc::new(daemon.channel());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<EchoRequest, EchoResponse>::default();
        let path = http::uri::PathAndQuery::from_static(made_up);
        let status = client.unary(tonic::Request::new(echo("", 0)), path, codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }

    let scrape = daemon.metrics().await;
    let echoed = [("rpc_method", "probe.v1.ProbeService/Echo"), ("rpc_response_status_code", "OK")];
    let failed = [("rpc_method", "probe.v1.ProbeService/Produce"), ("error_type", "DATA_LOSS")];
    let other = [("rpc_method", "_OTHER"), ("rpc_response_status_code", "UNIMPLEMENTED")];
    for side in [CLIENT, SERVER] {
        let count = |labels: &[_]| scrape.value(&format!("{side}_count"), labels);
        assert_eq!((count(&echoed), count(&failed)), (Some(8.0), Some(1.0)), "{side}");
        let sum = scrape.value(&format!("{side}_sum"), &echoed).unwrap();
        assert!((0.03..60.0).contains(&sum), "{side}: {sum}");
    }
    let count = |side: &str| scrape.value(&format!("{side}_count"), &other);
    // The route never sees the service that nobody has.
    assert_eq!((count(CLIENT), count(SERVER)), (Some(2.0), Some(3.0)));
    let methods = scrape.labels(&format!("{SERVER}_count"), "rpc_method");
    assert!(methods.iter().all(|method| !method.contains("Made") && !method.contains("made")), "{methods:?}");

    let plugin = [("plugmesh_plugin", "probe")];
    assert_eq!(scrape.value("plugmesh_instance_attempts_total", &plugin), Some(11.0));
    assert_eq!(scrape.value("plugmesh_instance_in_flight", &plugin), Some(0.0));
    let instances = scrape.labels("plugmesh_breaker_state", "plugmesh_instance");
    assert_eq!(instances.into_iter().collect::<Vec<_>>(), ["probe-0", "probe-1"]);
    for (metric, state, value) in [
        ("plugmesh_plugin_state", "ready", 1.0),
        ("plugmesh_plugin_state", "failed", 0.0),
        ("plugmesh_instance_state", "ready", 2.0),
    ] {
        assert_eq!(scrape.value(metric, &[("state", state)]), Some(value), "{metric} {state}");
    }
    assert!(scrape.value("plugmesh_gateway_connections", &[]).unwrap() >= 1.0);
}

#[tokio::test]
async fn a_crash_shows_in_restarts_and_a_call_in_flight_while_it_lasts() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).start().await;
    let call = tokio::spawn({
        let mut probe = daemon.probe();
        async move { probe.echo(echo("long", 600_000)).await }
    });
    crate::calls::begun(&daemon, "long").await;
    let instance = [("plugmesh_instance", "probe-0")];
    assert_eq!(daemon.metrics().await.value("plugmesh_instance_in_flight", &instance), Some(1.0));
    assert_eq!(daemon.metrics().await.value("plugmesh_instance_restarts_total", &instance), Some(0.0));
    let before = daemon.instance("probe", 0).await;
    let pid = rustix::process::Pid::from_raw(before.pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    call.await.unwrap().unwrap_err();
    daemon.wait_restarted("probe", &before.instance_id).await;
    let scrape = daemon.metrics().await;
    assert_eq!(scrape.value("plugmesh_instance_restarts_total", &instance), Some(1.0));
    assert_eq!(scrape.value("plugmesh_instance_in_flight", &instance), Some(0.0));
    let lost = [("rpc_method", "probe.v1.ProbeService/Echo"), ("error_type", "UNAVAILABLE")];
    assert_eq!(scrape.value(&format!("{CLIENT}_count"), &lost), Some(1.0));
}

#[tokio::test]
async fn a_scraper_without_certificates_has_a_port_of_its_own() {
    let config = "telemetry:\n  metrics: {listen: \"127.0.0.1:0\"}\nlog: {format: json}\n";
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).config(config).start().await;
    let marker = "serving metrics in plaintext";
    daemon.logged(marker).await;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains(marker)).unwrap();
    let at = line.find("127.0.0.1:").unwrap();
    let address: String =
        line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    daemon.probe().echo(echo("", 0)).await.unwrap();
    let io = tokio::net::TcpStream::connect(&address).await.unwrap();
    let scrape = Scrape::read(io).await;
    let echoed = [("rpc_method", "probe.v1.ProbeService/Echo")];
    assert_eq!(scrape.value(&format!("{SERVER}_count"), &echoed), Some(1.0));
}
