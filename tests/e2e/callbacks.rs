//! Plugins that call plugins and the host.

use calculator::Calculator;
use plugmesh_tests::calculator::calculator_service_client::CalculatorServiceClient;
use plugmesh_tests::calculator::calculator_service_server::CalculatorServiceServer;
use plugmesh_tests::calculator::{AddRequest, AddResponse};
use plugmesh_tests::probe::probe_service_client::ProbeServiceClient;
use plugmesh_tests::probe::*;
use plugmesh_tests::{Daemon, PluginDir, connect_unix};
use prost::Message;
use tonic::{Code, IntoRequest};

use crate::calls::{echo, with};

const ADD: &str = "/calculator.v1.CalculatorService/Add";

fn relay(path: &str, request: &impl Message) -> RelayRequest {
    RelayRequest { path: path.into(), request: request.encode_to_vec().into(), plugin: String::new() }
}

#[tokio::test]
async fn a_plugin_calls_another_through_the_gateway() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).plugin(PluginDir::calculator(1)).start().await;
    let answer =
        daemon.probe().relay(relay(ADD, &AddRequest { a: 20.0, b: 22.0 })).await.unwrap().into_inner();
    assert_eq!((answer.code, answer.message.as_str()), (0, ""));
    assert_eq!(AddResponse::decode(answer.response).unwrap().value, 42.0);
}

#[tokio::test]
async fn it_calls_as_itself_with_deadline_and_trace() {
    let left = PluginDir::named_probe("left", 1);
    let right = PluginDir::named_probe("right", 1);
    let daemon = Daemon::builder().plugin(left).plugin(right).start().await;
    let onward =
        RelayRequest { plugin: "right".into(), ..relay("/probe.v1.ProbeService/Echo", &echo("", 0)) };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut request = with(onward.into_request(), plugmesh::metadata::PLUGIN, "left");
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    request.set_timeout(std::time::Duration::from_secs(30));
    let answer = daemon.probe().relay(request).await.unwrap().into_inner();
    assert_eq!(answer.code, 0, "{}", answer.message);
    let seen = EchoResponse::decode(answer.response).unwrap();
    assert_eq!(seen.instance, "right-0");
    let header = |name: &str| seen.headers.iter().find(|it| it.name == name).map(|it| it.value.clone());
    assert_eq!(header("plugmesh-caller").unwrap(), "plugin/left/left-0");
    assert_eq!(header("traceparent").unwrap()[..35], trace.as_bytes()[..35]);
    assert_eq!(header("plugmesh-token"), None, "the token is between the plugin and the host");
    assert!((1..30_000).contains(&seen.deadline_ms), "{} ms", seen.deadline_ms);
}

#[tokio::test]
async fn it_is_denied_the_administration_and_the_control_services() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).start().await;
    let call = async |path| daemon.probe().relay(relay(path, &())).await.unwrap().into_inner();
    let answer = call("/plugmesh.admin.v1.AdminService/ListPlugins").await;
    assert_eq!(answer.code, Code::PermissionDenied as i32);
    assert_eq!(
        answer.message,
        "probe-0 may not call AdminService: plugins are denied it; call it as the user who owns the host"
    );
    let answer = call("/plugmesh.plugin.v1.PluginService/Handshake").await;
    assert_ne!(answer.code, 0);
    assert!(answer.message.contains("PluginService"), "{}", answer.message);
}

#[tokio::test]
async fn a_service_of_the_linking_program_is_called_by_plugins_and_through_the_gateway() {
    let offer = |host: plugmesh_host::HostBuilder| host.service(CalculatorServiceServer::new(Calculator));
    let linked = crate::balance::linked(PluginDir::probe(1), offer).await;
    let mut probe = linked.host.client(ProbeServiceClient::new);
    let answer = probe.relay(relay(ADD, &AddRequest { a: 1.0, b: 2.0 })).await.unwrap().into_inner();
    assert_eq!(answer.code, 0, "{}", answer.message);
    assert_eq!(AddResponse::decode(answer.response).unwrap().value, 3.0);

    let address = &linked.host.addresses()[0];
    let mut outside = CalculatorServiceClient::new(connect_unix(address.strip_prefix("unix://").unwrap()));
    assert_eq!(outside.add(AddRequest { a: 2.0, b: 2.0 }).await.unwrap().into_inner().value, 4.0);
    let mut inside = linked.host.client(CalculatorServiceClient::new);
    assert_eq!(inside.add(AddRequest { a: 3.0, b: 2.0 }).await.unwrap().into_inner().value, 5.0);
    linked.host.shutdown(std::time::Duration::from_secs(10)).await;
}
