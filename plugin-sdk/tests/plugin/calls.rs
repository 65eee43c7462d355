//! Calls of a plugin's own services: panics, deadlines, unknown names, reflection.

use std::time::Duration;

use futures_util::StreamExt;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::support::{Client, PROBE, Probe, Running, plugin};

#[tokio::test]
async fn a_panic_ends_the_call_and_nothing_else() {
    let running = Running::start(plugin().service(Probe::default())).await;
    let mut client = Client::new(running.channel());
    for method in ["EarlyPanic", "Panic", "LatePanic"] {
        let status = client.call(method, "").await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{method}: {status}");
        assert_eq!(status.message(), "the plugin's handler panicked; its log says where");
    }
    let mut stream = client.stream("PanicStream", Request::new(String::new())).await;
    assert_eq!(stream.next().await.unwrap().unwrap(), "first");
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Internal);
    client.call("Echo", "alive").await.unwrap();
    crate::support::wait_until(async || running.context.in_flight() == 0).await;
}

#[tokio::test]
async fn a_handler_ends_with_its_caller_s_deadline() {
    let running = Running::start(plugin().service(Probe::default())).await;
    let mut client = Client::new(running.channel());
    for method in ["Hold", "HoldStream"] {
        // Sent as plain metadata, so that only the plugin knows of the deadline.
        let mut request = Request::new(String::new());
        request.metadata_mut().insert("grpc-timeout", "20m".parse().unwrap());
        let status = if method == "Hold" {
            client.request(method, request).await.unwrap_err()
        } else {
            let mut stream = client.stream(method, request).await;
            stream.next().await.unwrap().unwrap();
            stream.next().await.unwrap().unwrap_err()
        };
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{method}: {status}");
    }
    crate::support::wait_until(async || running.context.in_flight() == 0).await;
}

#[tokio::test]
async fn a_stream_is_in_flight_until_it_is_dropped() {
    let running = Running::start(plugin().service(Probe::default())).await;
    let mut client = Client::new(running.channel());
    let mut stream = client.stream("HoldStream", Request::new(String::new())).await;
    stream.next().await.unwrap().unwrap();
    assert_eq!(running.context.in_flight(), 1);
    drop(stream);
    crate::support::wait_until(async || running.context.in_flight() == 0).await;
}

#[tokio::test]
async fn an_unknown_service_is_answered_with_what_there_is() {
    let running = Running::start(plugin().service(Probe::default())).await;
    let mut grpc = tonic::client::Grpc::new(running.channel());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<String, String>::default();
    let path = "/test.Prob/Echo".parse().unwrap();
    let status = grpc.unary(Request::new(String::new()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), r#"no service "test.Prob" here; this plugin serves: test.Probe"#);
}

#[tokio::test]
async fn health_knows_each_service() {
    let running = Running::start(plugin().service(Probe::default())).await;
    assert_eq!(running.health("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(running.health(PROBE).await.unwrap(), ServingStatus::Serving);
    assert_eq!(running.health("no.Such").await.unwrap_err().code(), Code::NotFound);
    running.context.set_serving(PROBE, false);
    assert_eq!(running.health(PROBE).await.unwrap(), ServingStatus::NotServing);
    // A plugin none of whose services is well is not well itself.
    assert_eq!(running.health("").await.unwrap(), ServingStatus::NotServing);
    running.context.set_serving(PROBE, true);
    assert_eq!(running.health("").await.unwrap(), ServingStatus::Serving);
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_describes_it() {
    let running = Running::start(plugin().service(Probe::default())).await;
    let mut client = ServerReflectionClient::new(running.channel());
    let ask = |request| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        futures_util::stream::iter([request])
    };
    let answer =
        client.server_reflection_info(ask(MessageRequest::ListServices(String::new()))).await.unwrap();
    let ServerReflectionResponse {
        message_response: Some(MessageResponse::ListServicesResponse(list)), ..
    } = answer.into_inner().message().await.unwrap().unwrap()
    else {
        panic!("no list");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(
        names,
        [
            PROBE,
            "plugmesh.plugin.v1.PluginService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
    );
    let symbol = MessageRequest::FileContainingSymbol("plugmesh.plugin.v1.PluginService".into());
    let answer = client.server_reflection_info(ask(symbol)).await.unwrap();
    let answer = answer.into_inner().message().await.unwrap().unwrap();
    assert!(matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))));
}

#[tokio::test]
async fn calls_go_on_beside_one_that_waits() {
    let probe = Probe::default();
    let running = Running::start(plugin().service(probe.clone())).await;
    let channel = running.channel();
    let held = tokio::spawn({
        let mut client = Client::new(channel.clone());
        async move { client.call("Hold", "").await }
    });
    crate::support::wait_until(async || running.context.in_flight() == 1).await;
    Client::new(channel).call("Echo", "").await.unwrap();
    probe.release();
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), held).await.unwrap().unwrap().unwrap(), "held");
}
