//! What an operator does to running plugins.

use std::process::Command;

use plugmesh::admin::v1::{InstanceKind, InstanceState, PluginState};
use plugmesh_tests::calculator::AddRequest;
use plugmesh_tests::{Daemon, Leaks, Neighbour, PluginDir, Process, binary, eventually};
use rustix::process::Signal;
use tonic::Code;

use crate::calls::{begun, echo, pinned};

/// A probe that a person starts on a socket of this name.
async fn by_hand(daemon: &Daemon, socket: &str) -> (Process, String) {
    let address = format!("unix://{}", daemon.home().join(socket).display());
    let process = Process::start(Command::new(binary("probe")).env("PLUGMESH_LISTEN", &address));
    assert!(process.wrote(&format!("listens on {address}")).await, "{}", process.err());
    (process, address)
}

#[tokio::test]
async fn a_plugin_started_by_hand_is_attached_called_and_let_go() {
    let daemon = Daemon::builder().plugin(PluginDir::calculator(1)).start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let leaks = Leaks::of(&daemon).await;
    let (process, address) = by_hand(&daemon, "hand.sock").await;
    daemon.cli(&["attach", "probe", &address]).await.ok();
    let plugin = daemon.plugin("probe").await;
    assert_eq!((plugin.state(), plugin.tier), (PluginState::Ready, 2), "{plugin:#?}");
    assert_eq!(plugin.instances[0].kind(), InstanceKind::Remote);
    assert_eq!(plugin.instances[0].address, address);
    let answer = daemon.probe().echo(echo("", 0)).await.unwrap().into_inner();
    assert_eq!(answer.pid, u64::from(process.pid()));

    let killed = process.end(Signal::KILL).await;
    assert_eq!(killed.code, 128 + 9);
    daemon.wait_for("probe", |plugin| plugin.state() != PluginState::Ready).await;
    let status = daemon.probe().echo(echo("", 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    daemon.cli(&["unload", "probe"]).await.ok();
    std::fs::remove_file(address.strip_prefix("unix://").unwrap()).unwrap();
    leaks.back_to(&daemon).await;
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn a_drained_instance_finishes_its_calls_and_gets_no_more() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(2)).start().await;
    let mut probe = daemon.probe();
    let call = tokio::spawn(async move { probe.echo(pinned(echo("", 1000), "probe-0")).await });
    // By the host's own count: Await could go to the other instance.
    daemon_counts(&daemon).await;
    daemon.cli(&["drain", "probe", "--instance", "probe-0"]).await.ok();
    call.await.unwrap().expect("a call in flight is finished");
    for _ in 0..50 {
        assert_eq!(daemon.probe().echo(echo("", 0)).await.unwrap().into_inner().instance, "probe-1");
    }
    assert_eq!(daemon.instance("probe", 0).await.state(), InstanceState::Draining);
}

async fn daemon_counts(daemon: &Daemon) {
    let busy = async || (daemon.instance("probe", 0).await.in_flight > 0).then_some(());
    eventually("a call is in flight", busy).await;
}

#[tokio::test]
async fn a_drain_says_how_much_outlasted_its_grace() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).start().await;
    let mut probe = daemon.probe();
    let call = tokio::spawn(async move { probe.echo(echo("long", 600_000)).await });
    begun(&daemon, "long").await;
    let ran = daemon.cli(&["drain", "probe", "--grace", "100ms", "--output", "json"]).await;
    assert!(
        ran.out.contains("\"inFlight\": \"1\"")
            || ran.out.contains("\"in_flight\": 1")
            || ran.out.contains('1'),
        "{ran:#?}"
    );
    call.abort();
}

#[tokio::test]
async fn a_disabled_plugin_is_off_until_it_is_enabled() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(2)).plugin(PluginDir::calculator(1)).start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let leaks = Leaks::of(&daemon).await;
    daemon.cli(&["disable", "probe"]).await.ok();
    assert_eq!(daemon.plugin("probe").await.state(), PluginState::Disabled);
    let status = daemon.probe().echo(echo("", 0)).await.unwrap_err();
    assert!([Code::Unavailable, Code::Unimplemented].contains(&status.code()), "{status:?}");
    daemon.cli(&["enable", "probe"]).await.ok();
    daemon.probe().echo(echo("", 0)).await.unwrap();
    leaks.back_to(&daemon).await;
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn a_reload_under_load_loses_no_call() {
    let daemon = Daemon::builder().plugin(PluginDir::calculator(2)).start().await;
    let before = daemon.plugin("calculator").await;
    let neighbours =
        [Neighbour::of(&daemon).await, Neighbour::of(&daemon).await, Neighbour::of(&daemon).await];
    for _ in 0..3 {
        daemon.cli(&["reload", "calculator"]).await.ok();
    }
    let after = daemon.wait_ready("calculator").await;
    assert_eq!(after.instances.len(), 2, "{after:#?}");
    let ids = |plugin: &plugmesh::admin::v1::Plugin| {
        plugin.instances.iter().map(|it| it.instance_id.clone()).collect::<Vec<_>>()
    };
    assert!(ids(&after).iter().all(|id| !ids(&before).contains(id)), "{after:#?}");
    for neighbour in neighbours {
        assert!(neighbour.finish().await > 0);
    }
}

#[tokio::test]
async fn a_reload_that_fails_leaves_the_old_instances_serving() {
    let daemon = Daemon::builder().plugin(PluginDir::calculator(1)).start().await;
    let before = daemon.instance("calculator", 0).await;
    let neighbour = Neighbour::of(&daemon).await;
    // The same name, so that it takes the place of the manifest.
    daemon.write(&PluginDir::script("calculator", "echo no such luck >&2; exit 1"));
    let error = daemon.cli(&["reload", "calculator"]).await;
    assert_ne!(error.code, 0);
    assert!(error.err.contains("no such luck"), "{}", error.err);
    assert!(neighbour.finish().await > 0);
    assert_eq!(daemon.instance("calculator", 0).await.instance_id, before.instance_id);
}

#[tokio::test]
async fn a_plugin_is_loaded_and_unloaded_without_a_trace() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).start().await;
    let leaks = Leaks::of(&daemon).await;
    let dir = daemon.write(&PluginDir::calculator(2)).display().to_string();
    daemon.cli(&["load", &dir]).await.ok();
    daemon.calculator().add(AddRequest::default()).await.unwrap();
    let again = daemon.cli(&["load", &dir]).await;
    assert_eq!(again.code, 64 + Code::AlreadyExists as i32, "{again:#?}");
    daemon.cli(&["unload", "calculator"]).await.ok();
    leaks.back_to(&daemon).await;
    let status = daemon.calculator().add(AddRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
}

#[tokio::test]
async fn a_service_of_a_plugin_that_still_starts_is_unavailable_and_not_unknown() {
    let daemon = Daemon::builder().plugin(PluginDir::probe(1)).start().await;
    let calculator = binary("calculator").display();
    let wait = format!("until [ -e \"$(dirname \"$0\")/go\" ]; do sleep 0.05; done\nexec {calculator}");
    let dir = daemon.write(&PluginDir::script("calculator", &wait));
    let path = dir.display().to_string();
    let add = async || daemon.calculator().add(AddRequest::default()).await;
    let load = ["load", &path];
    let (loaded, ()) = tokio::join!(daemon.cli(&load), async {
        let status = eventually("it starts", async || {
            let status = add().await.unwrap_err();
            (status.code() != Code::Unimplemented).then_some(status)
        });
        let status = status.await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("still starting"), "{status:?}");
        std::fs::write(dir.join("go"), "").unwrap();
    });
    loaded.ok();
    add().await.unwrap();
}

#[tokio::test]
async fn the_command_line_calls_through_reflection() {
    let daemon = Daemon::builder().plugin(PluginDir::calculator(1)).start().await;
    let call = async |method: &str, json: &str| {
        daemon.cli(&["call", &format!("CalculatorService/{method}"), "-d", json, "--output", "json"]).await
    };
    assert_eq!(call("Add", r#"{"a": 1, "b": 2}"#).await.json()["value"], 3.0);
    let error = call("Divide", r#"{"a": 1}"#).await;
    assert_eq!(error.code, 64 + Code::InvalidArgument as i32);
    assert!(error.err.contains("division by zero"), "{}", error.err);
}
