//! What the gateway answers itself: health, reflection, and the way to `AdminService`.

use bytes::Bytes;
use h2::client::SendRequest;
use prost::Message;
use semver::Version;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus as Wire;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest as Asked;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse as Told;

use super::support::*;
use crate::gateway::{Limits, ServingStatus};

pub(super) fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes.into()
}

async fn check(
    client: &SendRequest<Bytes>,
    service: &str,
    plugin: Option<&str>,
) -> Result<Wire, tonic::Status> {
    let mut request = grpc("/grpc.health.v1.Health/Check");
    if let Some(plugin) = plugin {
        request = request.header("plugmesh-plugin", plugin);
    }
    let asked = HealthCheckRequest { service: service.into() };
    let answer = call(client, request.body(()).unwrap(), framed(&asked)).await;
    match answer.status().code() {
        Code::Ok => Ok(HealthCheckResponse::decode(answer.data.slice(5..)).unwrap().status()),
        _ => Err(answer.status()),
    }
}

#[tokio::test]
async fn health_is_of_the_host_a_service_or_a_plugin() {
    let running = start(upstream(echo), Limits::default()).await;
    let known = &running.known;
    known.set_health("", None, ServingStatus::Serving);
    known.set_health("demo.v1.Echo", None, ServingStatus::Serving);
    known.set_health("demo.v1.Echo", Some(plugin("old")), ServingStatus::NotServing);
    running
        .catalog
        .insert(plugin("old"), Version::new(1, 0, 0), Bytes::new(), vec!["demo.v1.Echo".into()])
        .unwrap();
    let client = running.client().await;
    assert_eq!(check(&client, "", None).await.unwrap(), Wire::Serving);
    assert_eq!(check(&client, "demo.v1.Echo", None).await.unwrap(), Wire::Serving);
    assert_eq!(check(&client, "demo.v1.Echo", Some("old")).await.unwrap(), Wire::NotServing);
    assert_eq!(check(&client, "plugmesh.admin.v1.AdminService", None).await.unwrap(), Wire::Serving);
    let unknown = check(&client, "demo.v1.Ech", None).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("demo.v1.Echo"), "{unknown}");
    let bad = check(&client, "", Some("Not A Name")).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_health_watch_follows_a_service_that_comes_and_goes() {
    let running = start(upstream(echo), Limits::default()).await;
    let mut client = running.client().await.ready().await.unwrap();
    let request = grpc("/grpc.health.v1.Health/Watch").body(()).unwrap();
    let (response, mut send) = client.send_request(request, false).unwrap();
    send.send_data(framed(&HealthCheckRequest { service: "demo.v1.Echo".into() }), true).unwrap();
    let mut recv = response.await.unwrap().into_body();
    let mut next = async || {
        let data = tokio::time::timeout(PATIENCE, recv.data()).await.unwrap().unwrap().unwrap();
        HealthCheckResponse::decode(data.slice(5..)).unwrap().status()
    };
    assert_eq!(next().await, Wire::ServiceUnknown);
    running.known.set_health("demo.v1.Echo", None, ServingStatus::NotServing);
    assert_eq!(next().await, Wire::NotServing);
    // What changes elsewhere is not told.
    running.known.set_health("other", None, ServingStatus::Serving);
    running.known.set_health("demo.v1.Echo", None, ServingStatus::Serving);
    assert_eq!(next().await, Wire::Serving);
}

async fn reflect(client: &SendRequest<Bytes>, plugin: Option<&str>, asked: Asked) -> Told {
    let mut request = grpc("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    if let Some(plugin) = plugin {
        request = request.header("plugmesh-plugin", plugin);
    }
    let asked = v1::ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let answer = call(client, request.body(()).unwrap(), framed(&asked)).await;
    assert_eq!(answer.status().code(), Code::Ok);
    let told = v1::ServerReflectionResponse::decode(answer.data.slice(5..)).unwrap();
    assert_eq!(told.original_request, Some(asked));
    told.message_response.unwrap()
}

async fn listed(client: &SendRequest<Bytes>, plugin: Option<&str>) -> Vec<String> {
    match reflect(client, plugin, Asked::ListServices(String::new())).await {
        Told::ListServicesResponse(list) => list.service.into_iter().map(|service| service.name).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn reflection_follows_plugins_as_they_come_and_go() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    let own = listed(&client, None).await;
    // Administration, events, health, and reflection in both versions.
    assert_eq!(own.len(), 5, "{own:?}");
    let set = compile("demo.proto", DEMO);
    running.catalog.insert(plugin("demo"), Version::new(1, 0, 0), set, vec!["demo.v1.Echo".into()]).unwrap();
    assert!(listed(&client, None).await.contains(&"demo.v1.Echo".into()));
    assert_eq!(listed(&client, Some("demo")).await, ["demo.v1.Echo"]);
    let symbol = || Asked::FileContainingSymbol("demo.v1.Echo.Say".into());
    match reflect(&client, None, symbol()).await {
        Told::FileDescriptorResponse(files) => assert_eq!(files.file_descriptor_proto.len(), 1),
        other => panic!("{other:?}"),
    }
    assert!(running.catalog.remove(&plugin("demo")));
    assert_eq!(listed(&client, None).await, own);
    match reflect(&client, None, symbol()).await {
        Told::ErrorResponse(error) => assert_eq!(error.error_code, Code::NotFound as i32),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn admin_service_is_unimplemented_when_there_is_none() {
    let running = start(upstream(echo), Limits::default()).await;
    let request = grpc("/plugmesh.admin.v1.AdminService/GetHost").body(()).unwrap();
    let answer = call(&running.client().await, request, message(0)).await;
    assert_eq!(answer.status().code(), Code::Unimplemented);
}
