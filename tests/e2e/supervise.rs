//! Instances that hang or keep dying, and what a person sees of it.

mod hang;
mod scale;

use plugmesh::admin::v1::{InstanceState, PluginState};
use plugmesh_tests::{Daemon, Leaks, Neighbour, PluginDir};
use tonic::Code;

use crate::calls::echo;
use crate::kills::kill;

/// A probe whose pauses are short, so that its budget is spent soon.
fn impatient(max_interval: &str) -> PluginDir {
    let restart =
        format!("restart: {{initial_interval: 10ms, max_interval: {max_interval}, max_restarts: 3}}");
    PluginDir::probe(1).line(&restart)
}

/// Kills the probe until it is in a crash loop, and gives how often that was.
async fn into_a_crash_loop(daemon: &Daemon) -> u32 {
    for kills in 1.. {
        let settled = |plugin: &plugmesh::admin::v1::Plugin| {
            matches!(plugin.state(), PluginState::Ready | PluginState::CrashLoop)
        };
        let plugin = daemon.wait_for("probe", settled).await;
        if plugin.state() == PluginState::CrashLoop {
            return kills - 1;
        }
        let before = &plugin.instances[0];
        let control = plugmesh_tests::probe::ControlRequest {
            stderr: "panicked at the disco".into(),
            ..Default::default()
        };
        daemon.probe().control(control).await.unwrap();
        kill(before.pid);
        daemon.wait_for("probe", |plugin| plugin.instances[0].instance_id != before.instance_id).await;
    }
    unreachable!("the numbers end first")
}

#[tokio::test]
async fn an_instance_that_keeps_dying_is_in_a_crash_loop_that_an_operator_ends() {
    let daemon = Daemon::builder().plugin(impatient("1h")).plugin(PluginDir::calculator(1)).start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let leaks = Leaks::of(&daemon).await;
    assert_eq!(into_a_crash_loop(&daemon).await, 4, "three restarts are granted");
    let plugin = daemon.plugin("probe").await;
    assert_eq!(plugin.instances[0].state(), InstanceState::CrashLoop);
    for part in ["was killed by SIGKILL", "panicked at the disco"] {
        assert!(plugin.message.contains(part), "{plugin:#?}");
    }
    let listed = daemon.cli(&["list"]).await.ok();
    assert!(listed.contains("crash loop") && listed.contains("was killed by SIGKILL"), "{listed}");
    let health = daemon.cli(&["health"]).await;
    let summary = "degraded: probe is in a crash loop: it was killed by SIGKILL\n";
    assert!(health.code == 3 && health.out.starts_with(summary), "{health:#?}");
    let status = daemon.probe().echo(echo("", 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    // Not in an hour but now.
    daemon.cli(&["enable", "probe"]).await.ok();
    let plugin = daemon.wait_ready("probe").await;
    daemon.probe().echo(echo("", 0)).await.unwrap();
    kill(plugin.instances[0].pid);
    daemon.wait_restarted("probe", &plugin.instances[0].instance_id).await;
    daemon.cli(&["health"]).await.ok();
    leaks.back_to(&daemon).await;
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn a_crash_loop_heals_by_itself() {
    let plugin = impatient("100ms");
    let daemon = Daemon::builder().plugin(plugin).plugin(PluginDir::calculator(1)).start().await;
    into_a_crash_loop(&daemon).await;
    daemon.wait_ready("probe").await;
    daemon.probe().echo(echo("", 0)).await.unwrap();
}

#[tokio::test]
async fn a_reload_ends_a_crash_loop_too() {
    let daemon = Daemon::builder().plugin(impatient("1h")).plugin(PluginDir::calculator(1)).start().await;
    into_a_crash_loop(&daemon).await;
    daemon.cli(&["reload", "probe"]).await.ok();
    assert_eq!(daemon.plugin("probe").await.state(), PluginState::Ready);
    daemon.probe().echo(echo("", 0)).await.unwrap();
}
