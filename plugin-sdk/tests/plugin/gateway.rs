//! Calls from a plugin through the gateway; another plugin stands in for it, since it shows what it got.

use plugmesh::plugin::v1::HandshakeRequest;
use plugmesh_sdk::Call;
use tonic::{Code, Request};

use crate::support::{Client, Probe, Running, callback, handshake, plugin};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn relay() -> (Running, Running) {
    let gateway = Running::start(plugin().service(Probe::default())).await;
    let plugin = plugin();
    let context = plugin.context();
    let running = Running::start(plugin.service(Probe::default().with_context(context))).await;
    let callback = callback(format!("unix://{}", gateway.socket.display()), "secret");
    let request = HandshakeRequest { callback: Some(callback), ..handshake(1) };
    running.contract().handshake(request).await.unwrap();
    (running, gateway)
}

fn traced(timeout: &'static str) -> Request<String> {
    let mut request = Request::new("hello".to_owned());
    request.metadata_mut().insert("traceparent", TRACE.parse().unwrap());
    request.metadata_mut().insert("tracestate", "a=b".parse().unwrap());
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

#[tokio::test]
async fn a_handler_s_calls_carry_token_trace_and_deadline() {
    let (running, _gateway) = relay().await;
    let seen = Client::new(running.channel()).request("Relay", traced("10S")).await.unwrap();
    assert_eq!(seen, format!("hello secret - {TRACE} a=b timeout=true"));
    let seen = Client::new(running.channel()).call("Relay", "plain").await.unwrap();
    assert_eq!(seen, "plain secret - - - timeout=false");
}

#[tokio::test]
async fn a_call_can_be_taken_along_and_a_plugin_chosen() {
    let (running, _gateway) = relay().await;
    let gateway = running.context.gateway().to_plugin("text").for_call(Call::of(&traced("10S")));
    let seen = Client::new(gateway).call("Echo", "x").await.unwrap();
    assert_eq!(seen, format!("x secret text {TRACE} a=b timeout=true"));

    let late = Call::of(&traced("0n"));
    let status = Client::new(running.context.gateway().for_call(late)).call("Echo", "x").await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn without_a_gateway_the_error_says_what_to_do() {
    let running = Running::start(plugin()).await;
    let status = Client::new(running.context.gateway()).call("Echo", "x").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("plugmesh attach"), "{status}");
}

#[tokio::test]
async fn a_client_outlives_its_gateway() {
    let (running, gateway) = relay().await;
    let mut client = Client::new(running.context.gateway());
    client.call("Echo", "x").await.unwrap();
    gateway.context.shut_down();
    gateway.ended().await.unwrap();
    assert_eq!(client.call("Echo", "x").await.unwrap_err().code(), Code::Unavailable);

    let next = Running::start(plugin().service(Probe::default())).await;
    let callback = callback(format!("unix://{}", next.socket.display()), "next");
    let request = HandshakeRequest { callback: Some(callback), ..handshake(2) };
    running.contract().handshake(request).await.unwrap();
    assert!(client.call("Echo", "x").await.unwrap().starts_with("x next"));
}

#[tokio::test]
async fn the_token_never_travels_in_the_clear() {
    let running = Running::start(plugin()).await;
    let callback = callback("http://127.0.0.1:1".into(), "secret");
    let request = HandshakeRequest { callback: Some(callback), ..handshake(1) };
    running.contract().handshake(request).await.unwrap();
    let status = Client::new(running.context.gateway()).call("Echo", "x").await.unwrap_err();
    assert!(status.message().ends_with("use unix:///path or https://host:port"), "{status}");
    assert!(!format!("{:?}", running.context).contains("secret"));
}
