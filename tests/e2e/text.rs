//! The example plugin in Python that changes texts, and a client in Python.

use std::path::Path;
use std::process::Command;

use plugmesh::admin::v1::PluginState;
use plugmesh_tests::{Daemon, DaemonBuilder, Neighbour, PluginDir, Ran};
use rustix::process::{Pid, Signal, kill_process};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::python::TEXT;

/// The calculator, with the version that the plugin asks for.
pub(crate) fn calculator() -> PluginDir {
    PluginDir::calculator(1).line("version: 0.1.0")
}

/// A daemon with the plugin and the calculator, to be.
fn described(config: &str) -> DaemonBuilder {
    TEXT.daemon(config).plugin(calculator())
}

/// Calls a method through reflection, as a person does.
async fn call(daemon: &Daemon, method: &str, json: &str) -> Ran {
    daemon.cli(&["call", &format!("text.v1.TextService/{method}"), "-d", json, "--output", "json"]).await
}

#[tokio::test]
async fn it_is_a_plugin_of_tier_2_and_calls_the_calculator() {
    let Some(()) = TEXT.built().await else { return };
    let daemon = described("").start().await;
    let plugin = daemon.plugin("text").await;
    assert_eq!((plugin.state(), plugin.tier), (PluginState::Ready, 2), "{plugin:#?}");
    assert_eq!((plugin.version.as_str(), plugin.description.as_str()), ("0.1.0", "Changes and counts texts"));
    assert_eq!(plugin.labels["lang"], "python");
    for (method, asked, field, answer) in [
        ("Uppercase", r#"{"text": "straße"}"#, "text", "STRASSE".into()),
        ("Lowercase", r#"{"text": "ÄÖÜ"}"#, "text", "äöü".into()),
        ("Reverse", r#"{"text": "hsemgulp"}"#, "text", "plugmesh".into()),
        ("WordCount", r#"{"text": "one two  three"}"#, "words", serde_json::json!(3)),
        // Added up by the calculator, through the gateway.
        ("WordTotal", r#"{"lines": ["one two", "three", "four five six"]}"#, "words", serde_json::json!(6)),
    ] {
        assert_eq!(call(&daemon, method, asked).await.json()[field], answer, "{method}");
    }
    // And it says what the other one said, when that is not there.
    daemon.cli(&["disable", "calculator"]).await.ok();
    let without = call(&daemon, "WordTotal", r#"{"lines": ["one two"]}"#).await;
    assert!(without.code > 64 && without.err.contains("Add: "), "{without:#?}");
}

#[tokio::test]
async fn its_configuration_is_checked_handed_over_and_obeyed() {
    let Some(()) = TEXT.built().await else { return };
    let daemon = described("  text:\n    config:\n      max_length: 5\n").start().await;
    daemon.logged("configured").await;
    call(&daemon, "Uppercase", r#"{"text": "short"}"#).await.ok();
    let refused = call(&daemon, "Uppercase", r#"{"text": "longer"}"#).await.failed(64 + 3);
    assert!(refused.contains("the text has 6 characters; 5 are allowed"), "{refused}");

    let daemon = described("  text:\n    config:\n      max_length: 0\n").start().await;
    assert_eq!(daemon.plugin("text").await.state(), PluginState::Failed);
    assert!(daemon.log().contains("max_length"), "{}", daemon.log());
    assert_eq!(daemon.plugin("calculator").await.state(), PluginState::Ready);
}

#[tokio::test]
async fn it_drains_at_a_signal_and_comes_back() {
    let Some(()) = TEXT.built().await else { return };
    let daemon = described("").start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let request = HealthCheckRequest { service: "text.v1.TextService".into() };
    let health =
        async || HealthClient::new(daemon.channel()).check(request.clone()).await.unwrap().into_inner();
    assert_eq!(health().await.status(), ServingStatus::Serving);
    let before = daemon.instance("text", 0).await;
    kill_process(Pid::from_raw(before.pid as i32).unwrap(), Signal::TERM).unwrap();
    let after = daemon.wait_restarted("text", &before.instance_id).await;
    assert_eq!(after.instances[0].restarts, 1);
    assert!(daemon.log().contains(r#""message":"ending""#), "{}", daemon.log());
    assert_eq!(health().await.status(), ServingStatus::Serving);
    call(&daemon, "Uppercase", r#"{"text": "back"}"#).await.ok();
    assert!(neighbour.finish().await > 0);
    assert_eq!(daemon.stop().await.code, 0);
}

#[tokio::test]
async fn a_stock_client_in_python_calls_over_both_listeners() {
    let Some(()) = TEXT.built().await else { return };
    let tcp = "gateway:\n  tcp:\n    listen: 127.0.0.1:0\n    insecure: true\n";
    let daemon = Daemon::builder().plugin(PluginDir::calculator(1)).config(tcp).start().await;
    let mut client = Command::new(TEXT.directory().join(".venv/bin/python"));
    client.env("PYTHONPATH", TEXT.directory().join("generated")).env_remove("http_proxy");
    client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/text/client.py"));
    client.arg(format!("unix:{}", daemon.socket().display())).arg(daemon.tcp().await);
    let said = Ran::of(&mut client).await.ok();
    let once =
        "sum 42.0\nfibonacci 0 1 1 2 3 5 8\ntotals 1.0 3.0 6.0\nerror INVALID_ARGUMENT b: division by zero\n";
    assert_eq!(said, once.repeat(2));
}
