//! What the gateway forwards.

mod flow;

use plugmesh_tests::probe::*;
use plugmesh_tests::{Daemon, PluginDir, tools};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::{Code, IntoRequest, Request};

pub(crate) fn echo(key: &str, delay_ms: u32) -> EchoRequest {
    EchoRequest { key: key.into(), delay_ms, ..Default::default() }
}

/// Sent to this instance, by its name or its id.
pub(crate) fn pinned<T>(request: impl IntoRequest<T>, instance: &str) -> Request<T> {
    with(request, plugmesh::metadata::INSTANCE, instance)
}

pub(crate) fn with<T>(request: impl IntoRequest<T>, name: &'static str, value: &str) -> Request<T> {
    let mut request = request.into_request();
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

/// Waits until a call with this key has reached the probe.
pub(crate) async fn begun(daemon: &Daemon, key: &str) {
    ended(daemon, key, Ending::Begun).await;
}

async fn ended(daemon: &Daemon, key: &str, ending: Ending) {
    let request = AwaitRequest { key: key.into(), ending: ending.into(), count: 1 };
    let answer = tokio::time::timeout(plugmesh_tests::DEADLINE, daemon.probe().r#await(request)).await;
    answer.unwrap_or_else(|_| panic!("{key:?} was never {ending:?}")).unwrap();
}

pub(crate) fn seen(answer: &EchoResponse, name: &str) -> Option<String> {
    let found = answer.headers.iter().find(|header| header.name == name)?;
    Some(String::from_utf8_lossy(&found.value).into_owned())
}

async fn probe() -> Daemon {
    Daemon::builder().plugin(PluginDir::probe(1)).start().await
}

#[tokio::test]
async fn all_four_kinds_of_call_pass() {
    let daemon = probe().await;
    let mut probe = daemon.probe();
    let payload = bytes::Bytes::from(vec![7; 100_000]);
    let asked = EchoRequest { payload: payload.clone(), ..Default::default() };
    assert_eq!(probe.echo(asked).await.unwrap().into_inner().payload, payload);

    let asked = ProduceRequest { count: 1000, size: 1000, ..Default::default() };
    let mut stream = probe.produce(asked).await.unwrap().into_inner();
    for index in 0..1000 {
        assert_eq!(stream.message().await.unwrap().unwrap().index, index);
    }
    assert!(stream.message().await.unwrap().is_none());

    let piece = ConsumeRequest { payload: payload.clone(), ..Default::default() };
    let total = probe.consume(tokio_stream::iter(vec![piece; 50])).await.unwrap().into_inner();
    assert_eq!((total.messages, total.bytes), (50, 5_000_000));

    let (send, receive) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receive);
    let mut answers = probe.converse(requests).await.unwrap().into_inner();
    for number in 0..100_u8 {
        let payload = bytes::Bytes::from(vec![number]);
        send.send(ConverseRequest { payload: payload.clone(), key: String::new() }).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().payload, payload);
    }
    drop(send);
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn metadata_passes_both_ways_and_reserved_names_do_not() {
    let daemon = probe().await;
    let mut request = with(echo("", 0), "x-probe", "text");
    let binary = MetadataValue::from_bytes(&[0, 255, 1, 254]);
    request.metadata_mut().insert_bin("x-probe-bin", binary.clone());
    for reserved in ["plugmesh-caller", "plugmesh-anything"] {
        request.metadata_mut().insert(reserved, "a lie".parse().unwrap());
    }
    let answer = daemon.probe().echo(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-probe").unwrap(), "text");
    assert_eq!(answer.metadata().get_bin("x-probe-bin").unwrap(), binary);
    let answer = answer.into_inner();
    assert_eq!(seen(&answer, "x-probe").unwrap(), "text");
    assert_eq!(seen(&answer, "plugmesh-caller").unwrap(), "operator");
    assert_eq!(seen(&answer, "plugmesh-anything"), None);
}

#[tokio::test]
async fn a_status_passes_with_its_message_and_trailers() {
    let daemon = probe().await;
    let message = "it is\n\"100 %\" wrong, ünd so";
    let asked = EchoRequest { code: Code::DataLoss as i32, message: message.into(), ..Default::default() };
    let status = daemon.probe().echo(asked).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DataLoss, message));
    assert_eq!(status.metadata().get("probe-trailer").unwrap(), "from the plugin");

    let asked = ProduceRequest { count: 3, code: Code::Aborted as i32, ..Default::default() };
    let mut stream = daemon.probe().produce(asked).await.unwrap().into_inner();
    for _ in 0..3 {
        assert!(stream.message().await.unwrap().is_some());
    }
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn the_deadline_arrives_and_ends_the_call_on_both_sides() {
    let daemon = probe().await;
    let mut request = echo("", 0).into_request();
    request.set_timeout(std::time::Duration::from_secs(30));
    let left = daemon.probe().echo(request).await.unwrap().into_inner().deadline_ms;
    assert!((1..30_000).contains(&left), "{left} ms are left");

    // By a client that itself never gives up.
    let request = with(echo("late", 600_000), "grpc-timeout", "200m");
    let status = daemon.patient_probe().echo(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    ended(&daemon, "late", Ending::Cancelled).await;
}

#[tokio::test]
async fn a_call_that_the_client_drops_is_cancelled_in_the_plugin() {
    let daemon = probe().await;
    let mut probe = daemon.probe();
    let call = tokio::spawn(async move { probe.echo(echo("dropped", 600_000)).await });
    begun(&daemon, "dropped").await;
    call.abort();
    ended(&daemon, "dropped", Ending::Cancelled).await;

    let endless =
        ProduceRequest { count: u64::MAX, interval_ms: 1, key: "stream".into(), ..Default::default() };
    let mut stream = daemon.probe().produce(endless).await.unwrap().into_inner();
    stream.message().await.unwrap();
    drop(stream);
    ended(&daemon, "stream", Ending::Cancelled).await;
}

#[tokio::test]
async fn compressed_messages_pass() {
    let daemon = probe().await;
    let mut probe = daemon
        .probe()
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let payload = bytes::Bytes::from(vec![0; 10 << 20]);
    let asked = EchoRequest { payload: payload.clone(), ..Default::default() };
    let answer = probe.echo(asked).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    let answer = answer.into_inner();
    assert_eq!(seen(&answer, "grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.payload, payload);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_its_setting() {
    let limited = PluginDir::probe(1).line("max_message_size: 64KiB");
    let daemon = Daemon::builder().plugin(limited).start().await;
    let setting = "is over the host's limit of 65536 bytes for the plugin probe; raise max_message_size of that \
                   plugin in plugmesh.yaml or plugin.yaml";
    let large = EchoRequest { payload: vec![0; 70_000].into(), ..Default::default() };
    let status = daemon.probe().echo(large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.message(), format!("request message of 70004 bytes {setting}"));
    let asked = EchoRequest { answer_bytes: 70_000, ..Default::default() };
    let status = daemon.probe().echo(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(
        status.message().starts_with("response message of ") && status.message().ends_with(setting),
        "{status:?}"
    );
    // Just below it is fine, and the connection has not suffered.
    let fits = EchoRequest { payload: vec![0; 60_000].into(), ..Default::default() };
    daemon.probe().echo(fits).await.unwrap();
}

#[tokio::test]
async fn a_trace_passes_both_ways() {
    let daemon = probe().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = daemon.probe().echo(with(echo("", 0), "traceparent", trace)).await.unwrap();
    assert_eq!(answer.metadata().get("traceparent").unwrap(), trace);
    assert_eq!(seen(answer.get_ref(), "traceparent").unwrap()[..35], trace[..35]);
}

#[tokio::test]
async fn a_service_of_several_plugins_wants_a_choice() {
    let daemon = Daemon::builder()
        .plugin(PluginDir::named_probe("left", 1))
        .plugin(PluginDir::named_probe("right", 1))
        .start()
        .await;
    let status = daemon.probe().echo(echo("", 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(
        status.message(),
        "the service probe.v1.ProbeService is provided by several plugins: left, right; choose one with the \
         metadata plugmesh-plugin"
    );
    for plugin in ["left", "right"] {
        let request = with(echo("", 0), plugmesh::metadata::PLUGIN, plugin);
        let answer = daemon.probe().echo(request).await.unwrap().into_inner();
        assert_eq!(answer.instance, format!("{plugin}-0"));
    }
    let request = with(echo("", 0), plugmesh::metadata::PLUGIN, "rihgt");
    let status = daemon.probe().echo(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "there is no plugin \"rihgt\"; did you mean right?");
}

#[tokio::test]
async fn an_unknown_service_names_the_closest() {
    let daemon = probe().await;
    let mut grpc = tonic::client::Grpc::new(daemon.channel());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = "/probe.v1.ProbService/Echo".parse().unwrap();
    let status = grpc.unary(Request::new(()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(
        status.message(),
        "no plugin provides the service probe.v1.ProbService; did you mean probe.v1.ProbeService?"
    );
}

#[tokio::test]
async fn reflection_follows_plugins_as_they_come_and_go() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = probe().await;
    let lists = async || daemon.grpcurl(&["list"]).await.ok().contains("calculator.v1.CalculatorService");
    assert!(!lists().await);
    let dir = daemon.write(&PluginDir::calculator(1));
    daemon.cli(&["load", &dir.display().to_string()]).await.ok();
    assert!(lists().await);
    daemon.grpcurl(&["describe", "calculator.v1.AddRequest"]).await.ok();
    daemon.cli(&["unload", "calculator"]).await.ok();
    assert!(!lists().await);
    assert_ne!(daemon.grpcurl(&["describe", "calculator.v1.AddRequest"]).await.code, 0);
    assert!(daemon.grpcurl(&["list"]).await.ok().contains("probe.v1.ProbeService"));
}
