//! Metrics and traces of a real host.

use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use plugmesh_host::telemetry::Value;
use plugmesh_tests::probe::probe_service_client::ProbeServiceClient;
use plugmesh_tests::probe::*;
use plugmesh_tests::{Certificates, Collector, Daemon, PluginDir, Scrape, Tunnel, attribute};
use tonic::Code;

use crate::balance::linked;
use crate::calls::{echo, pinned, seen, with};

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
async fn an_instance_that_is_ejected_shows() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(2)).start().await;
    let instance = [("plugmesh_instance", "probe-1")];
    let breaker = async || {
        let scrape = daemon.metrics().await;
        let value = |name| scrape.value(name, &instance).unwrap();
        (value("plugmesh_breaker_state"), value("plugmesh_breaker_ejections_total"))
    };
    assert_eq!(breaker().await, (0.0, 0.0));
    for _ in 0..7 {
        let failing = EchoRequest { code: Code::Internal as i32, ..Default::default() };
        daemon.probe().echo(pinned(failing, "probe-1")).await.unwrap_err();
    }
    let (state, ejections) = breaker().await;
    assert!(state > 0.0, "its breaker is closed");
    assert_eq!(ejections, 1.0);
    let attempts = daemon.metrics().await.value("plugmesh_instance_failures_total", &instance);
    assert_eq!(attempts, Some(7.0));
}

#[tokio::test]
async fn a_program_has_its_metrics_as_data() {
    let linked = linked(PluginDir::probe(1), |host| host).await;
    // Before that nobody knows its methods.
    linked.host.described().await;
    let mut probe = linked.host.client(ProbeServiceClient::new);
    for _ in 0..4 {
        probe.echo(echo("", 0)).await.unwrap();
    }
    let metrics = linked.host.metrics();
    let labels = [("rpc.method", "probe.v1.ProbeService/Echo"), ("plugmesh.plugin", "probe")];
    let Some(Value::Histogram(calls)) = metrics.get("rpc.client.call.duration").unwrap().value(&labels)
    else {
        panic!("no calls in {metrics}")
    };
    assert_eq!((calls.count(), calls.buckets().sum::<u64>()), (4, 4));
    assert!(metrics.get("rpc.server.call.duration").is_none(), "no call came to the gateway");
    Scrape::parse(&metrics.to_string());
    // Counters of methods go on in what replaces a plugin.
    let name = "probe".parse().unwrap();
    let (mesh, config) = (linked.host.mesh(), linked.host.board().get(&name).unwrap().config.clone());
    let plugin = mesh.plugin(&name).unwrap();
    mesh.run(async move { plugin.replace((*config).clone()).await }).await.unwrap().unwrap();
    probe.echo(echo("", 0)).await.unwrap();
    let after = linked.host.metrics();
    let calls = after.get("rpc.client.call.duration").unwrap().value(&labels);
    assert!(matches!(calls, Some(Value::Histogram(calls)) if calls.count() == 5), "{after}");
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

#[tokio::test]
async fn a_scraper_with_a_certificate_reads_metrics_where_calls_come_in() {
    let certificates = Certificates::new();
    let scraper = certificates.issue("scraper", "spiffe://example.org/scraper");
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).config(certificates.gateway()).start().await;
    daemon.probe().echo(echo("", 0)).await.unwrap();
    let tunnel = Tunnel::speaking(b"http/1.1", daemon.tcp().await, &certificates, &scraper).await;
    let io = tokio::net::TcpStream::connect(tunnel.address()).await.unwrap();
    let echoed = [("rpc_method", "probe.v1.ProbeService/Echo")];
    assert_eq!(Scrape::read(io).await.value(&format!("{SERVER}_count"), &echoed), Some(1.0));
}

/// A trace of a caller, and its span.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_collector_gets_the_spans_between_the_caller_and_the_plugin() {
    let collector = Collector::start().await;
    let config = format!(
        "telemetry:\n  otlp: {{endpoint: \"{}\", headers: {{authorization: \"Bearer abc\"}}}}\n",
        collector.endpoint()
    );
    let daemon = Daemon::builder()
        .plugin(PluginDir::probe(1))
        .config(config)
        .env("OTEL_SERVICE_NAME", "edge")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .start()
        .await;
    let answer = daemon.probe().echo(with(echo("", 0), "traceparent", TRACE)).await.unwrap();
    let reached = seen(answer.get_ref(), "traceparent").unwrap();
    assert_eq!(reached[..35], TRACE[..35], "the same trace");
    let failing = EchoRequest { code: Code::Internal as i32, ..Default::default() };
    daemon.probe().echo(with(failing, "traceparent", TRACE)).await.unwrap_err();
    // A caller who says that its trace is not sampled is believed.
    let unsampled = TRACE.replace("-01", "-00").replace("0af7", "0bf7");
    let answer = daemon.probe().echo(with(echo("", 0), "traceparent", &unsampled)).await.unwrap();
    assert!(seen(answer.get_ref(), "traceparent").unwrap().ends_with("-00"));

    let spans = collector.wait_for_spans(|spans| spans.len() >= 6).await;
    let of = |name: &str, kind: SpanKind, status: &str| {
        let is = |span: &&Span| {
            let code = attribute(&span.attributes, "rpc.response.status_code");
            span.name == name
                && span.kind == kind as i32
                && code == status
                && hex(&span.trace_id) == TRACE[3..35]
        };
        spans.iter().find(is).unwrap_or_else(|| panic!("no {name} {status} among {spans:#?}"))
    };
    let method = "probe.v1.ProbeService/Echo";
    for (status, is_error) in [("OK", false), ("INTERNAL", true)] {
        let server = of(method, SpanKind::Server, status);
        let call = of(method, SpanKind::Client, status);
        let attempt = of(&format!("attempt {method}"), SpanKind::Client, status);
        assert_eq!(hex(&server.parent_span_id), TRACE[36..52], "the caller's span is its parent");
        assert_eq!(call.parent_span_id, server.span_id);
        assert_eq!(attempt.parent_span_id, call.span_id);
        if !is_error {
            assert_eq!(hex(&attempt.span_id), reached[36..52], "the plugin's parent");
        }
        for span in [server, call, attempt] {
            let code = span.status.as_ref().map_or(0, |status| status.code);
            assert_eq!(code, if is_error { 2 } else { 0 }, "{}", span.name);
            assert!(span.end_time_unix_nano > span.start_time_unix_nano);
        }
        assert!(call.start_time_unix_nano >= server.start_time_unix_nano);
        assert!(attempt.start_time_unix_nano >= call.start_time_unix_nano);
        assert_eq!(attribute(&attempt.attributes, "plugmesh.instance"), "probe-0");
    }
    assert!(spans.iter().all(|span| hex(&span.trace_id) != unsampled[3..35]));
    assert_eq!(collector.resource("service.name"), ["edge"]);
    assert_eq!(collector.resource("deployment.environment.name"), ["test"]);
    assert!(collector.authorization().iter().all(|value| value == "Bearer abc"));
}

#[tokio::test]
async fn a_collector_gets_metrics_every_so_often_and_at_the_end() {
    let collector = Collector::start().await;
    let often = "telemetry: {otlp: {interval: 100ms}}\n";
    let endpoint = collector.endpoint();
    let start = |config: &str| {
        let builder = Daemon::builder().plugin(PluginDir::probe(1)).config(config);
        builder.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).start()
    };
    let total = |points: &[HistogramDataPoint]| points.iter().map(|point| point.count).sum::<u64>();
    let daemon = start(often).await;
    for _ in 0..3 {
        daemon.probe().echo(echo("", 0)).await.unwrap();
    }
    let points = collector.wait_for_histogram("rpc.client.call.duration", |points| total(points) == 3).await;
    let [point] = &points[..] else { panic!("{points:?}") };
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 3);
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!(point.explicit_bounds[0], 10e-6);
    assert!(point.sum.unwrap() > 0.0 && point.start_time_unix_nano < point.time_unix_nano);
    assert_eq!(attribute(&point.attributes, "rpc.method"), "probe.v1.ProbeService/Echo");
    assert_eq!(attribute(&point.attributes, "plugmesh.plugin"), "probe");
    let unit = collector.metric("plugmesh.instance.restarts").unwrap().unit;
    assert_eq!(unit, "{restart}");
    daemon.stop().await;

    // The first export would be in an hour: it is the last one that comes.
    let daemon = start("telemetry: {otlp: {interval: 1h}}\n").await;
    for _ in 0..5 {
        daemon.probe().echo(echo("", 0)).await.unwrap();
    }
    daemon.stop().await;
    collector.wait_for_histogram("rpc.client.call.duration", |points| total(points) == 5).await;
    let instances = collector.resource("service.instance.id");
    assert_eq!(instances.len(), 2, "{instances:?}");
}

#[tokio::test]
async fn a_collector_over_tls_is_checked_against_its_authority() {
    let (collector, certificates) = (Collector::start().await, Certificates::new());
    let identity = certificates.issue("collector", "spiffe://example.org/collector");
    let front = Tunnel::in_front_of(collector.address(), &identity).await;
    let start = |authority: &Certificates| {
        let (address, ca) = (front.address(), authority.ca().display());
        let otlp = format!("{{endpoint: \"https://{address}\", ca: {ca}, interval: 100ms}}");
        Daemon::builder().plugin(PluginDir::probe(1)).config(format!("telemetry: {{otlp: {otlp}}}\n")).start()
    };
    let other = Certificates::new();
    let distrustful = start(&other).await;
    distrustful.logged("the collector is not sent everything").await;
    distrustful.stop().await;
    assert!(collector.resource("service.instance.id").is_empty(), "it sent something");
    let daemon = start(&certificates).await;
    daemon.probe().echo(echo("", 0)).await.unwrap();
    collector.wait_for_histogram("rpc.client.call.duration", |points| !points.is_empty()).await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_a_warning() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = format!("telemetry: {{otlp: {{endpoint: \"http://{unused}\", interval: 100ms}}}}\n");
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).config(config).start().await;
    for _ in 0..20 {
        daemon.probe().echo(echo("", 0)).await.unwrap();
    }
    let warning = "the collector is not sent everything";
    daemon.logged(warning).await;
    let ran = daemon.stop().await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err.matches(warning).count(), 1, "{}", ran.err);
}
