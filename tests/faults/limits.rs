//! Messages that are too large, and whose limit it is.

use plugmesh_tests::PluginDir;
use plugmesh_tests::probe::EchoRequest;
use plugmesh_tests::probe::probe_service_client::ProbeServiceClient;
use tonic::Code;

use crate::scene::Scene;

const SETTING: &str = "is over the host's limit of 1048576 bytes for the plugin probe; raise max_message_size of \
                       that plugin in plugmesh.yaml or plugin.yaml";

#[tokio::test]
async fn a_message_over_the_hosts_limit_names_limit_owner_and_setting() {
    let scene = Scene::new().await;
    scene.load(&PluginDir::probe(1).line("max_message_size: 1MiB")).await.unwrap();
    let large = EchoRequest { payload: vec![0; 2 << 20].into(), ..Default::default() };
    let status = scene.daemon.probe().echo(large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), format!("request message of 2097157 bytes {SETTING}"));

    let asked = EchoRequest { answer_bytes: 2 << 20, ..Default::default() };
    let status = scene.daemon.probe().echo(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let length = status.message().strip_prefix("response message of ").and_then(|rest| rest.split_once(' '));
    let (length, rest) = length.unwrap_or_else(|| panic!("{status:?}"));
    assert!(length.parse::<u64>().unwrap() > 2 << 20 && rest == format!("bytes {SETTING}"), "{status:?}");

    // The connection has not suffered.
    scene.daemon.probe().echo(EchoRequest::default()).await.unwrap();
    scene.unload("probe").await;
    scene.end().await;
}

/// Below the host's limit and above the one that generated tonic clients have: theirs to raise.
#[tokio::test]
async fn a_tonic_client_has_a_limit_of_its_own() {
    let scene = Scene::new().await;
    scene.load(&PluginDir::probe(1)).await.unwrap();
    let mut client = ProbeServiceClient::new(scene.daemon.channel());
    let asked = EchoRequest { answer_bytes: 5 << 20, ..Default::default() };
    let status = client.echo(asked.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let said = "Error, decoded message length too large: found ";
    assert!(status.message().starts_with(said), "{status:?}");
    assert!(status.message().ends_with("bytes, the limit is: 4194304 bytes"), "{status:?}");
    let mut client = client.max_decoding_message_size(64 << 20);
    assert_eq!(client.echo(asked).await.unwrap().into_inner().payload.len(), 5 << 20);
    scene.unload("probe").await;
    scene.end().await;
}
