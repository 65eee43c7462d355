//! As many instances as the load asks for, none while nobody calls, and one more for when one dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use plugmesh::admin::v1::{InstanceState, Plugin, PluginState};
use plugmesh_tests::probe::probe_service_server::SERVICE_NAME;
use plugmesh_tests::{Daemon, Leaks, Neighbour, PluginDir, eventually, processes_mentioning};
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::calls::{echo, pinned};
use crate::kills::kill;

async fn scaled(instances: &str) -> Daemon {
    let probe = PluginDir::command("probe", plugmesh_tests::binary("probe"));
    let probe = probe.line(&format!("instances: {{{instances}}}"));
    Daemon::builder().plugin(probe).plugin(PluginDir::calculator(1)).start().await
}

/// Callers that call on and on, and count what fails.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<Vec<tonic::Status>>>,
}

impl Load {
    fn of(daemon: &Daemon, callers: usize) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let caller = || {
            let (mut probe, stop, calls) = (daemon.probe(), stop.clone(), calls.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    failures.extend(probe.echo(echo("", 20)).await.err());
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        };
        let callers = (0..callers).map(|_| caller()).collect();
        Self { stop, calls, callers }
    }

    /// Stops calling; nothing failed.
    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            let failures = caller.await.unwrap();
            assert!(failures.is_empty(), "{failures:?}");
        }
        assert!(self.calls.load(Ordering::Relaxed) > 0);
    }
}

fn names(plugin: &Plugin) -> Vec<&str> {
    plugin.instances.iter().map(|instance| instance.name.as_str()).collect()
}

#[tokio::test]
async fn the_number_of_instances_follows_the_load_and_no_call_is_lost() {
    let daemon =
        scaled("min: 1, max: 3, target_in_flight: 4, scale_up_after: 300ms, scale_down_after: 300ms").await;
    let neighbour = Neighbour::of(&daemon).await;
    let leaks = Leaks::of(&daemon).await;
    let (steady, load) = (Load::of(&daemon, 1), Load::of(&daemon, 20));
    let grown = |plugin: &Plugin| plugin.ready_instances == 3;
    let plugin = daemon.wait_for("probe", grown).await;
    assert_eq!((plugin.wanted_instances, plugin.state()), (3, PluginState::Ready), "{plugin:#?}");
    assert_eq!(names(&plugin), ["probe-0", "probe-1", "probe-2"]);
    let shown = daemon.cli(&["list"]).await.ok();
    assert!(shown.contains("3/3"), "{shown}");

    load.finish().await;
    let plugin = daemon.wait_for("probe", |plugin| plugin.instances.len() == 1).await;
    assert_eq!((names(&plugin), plugin.wanted_instances), (vec!["probe-0"], 1));
    // Again, with the ordinals that are free by now.
    let load = Load::of(&daemon, 20);
    let plugin = daemon.wait_for("probe", grown).await;
    assert_eq!(names(&plugin), ["probe-0", "probe-1", "probe-2"]);
    load.finish().await;
    daemon.wait_for("probe", |plugin| plugin.instances.len() == 1).await;
    steady.finish().await;
    leaks.back_to(&daemon).await;
    assert!(neighbour.finish().await > 0);
}

async fn is_idle(daemon: &Daemon) -> Plugin {
    let idle = |plugin: &Plugin| plugin.state() == PluginState::Idle && plugin.instances.is_empty();
    daemon.wait_for("probe", idle).await
}

#[tokio::test]
async fn a_plugin_that_nobody_calls_sleeps_until_somebody_does() {
    let daemon = scaled("min: 0, max: 2, idle_timeout: 300ms").await;
    let neighbour = Neighbour::of(&daemon).await;
    let before = processes_mentioning(daemon.home()).len();
    is_idle(&daemon).await;
    eventually("its process ends", async || {
        (processes_mentioning(daemon.home()).len() < before).then_some(())
    })
    .await;
    let plugin = daemon.plugin("probe").await;
    assert_eq!((plugin.wanted_instances, plugin.services), (0, vec![SERVICE_NAME.to_owned()]));
    assert!(daemon.cli(&["services"]).await.ok().contains(SERVICE_NAME));
    daemon.cli(&["health"]).await.ok();
    let request = HealthCheckRequest { service: SERVICE_NAME.into() };
    let health = HealthClient::new(daemon.channel()).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving, "a call would be answered");

    // The first call finds nobody, and has somebody started.
    eventually("it wakes", async || daemon.probe().echo(echo("", 0)).await.ok()).await;
    let plugin = daemon.plugin("probe").await;
    assert_eq!((names(&plugin), plugin.state()), (vec!["probe-0"], PluginState::Ready));
    is_idle(&daemon).await;
    daemon.cli(&["enable", "probe"]).await.ok();
    daemon.probe().echo(echo("", 0)).await.unwrap();
    // Stopped or reloaded in its sleep, it is as any other.
    is_idle(&daemon).await;
    daemon.cli(&["reload", "probe"]).await.ok();
    daemon.probe().echo(echo("", 0)).await.unwrap();
    is_idle(&daemon).await;
    daemon.cli(&["disable", "probe"]).await.ok();
    assert_eq!(daemon.plugin("probe").await.state(), PluginState::Disabled);
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn the_first_call_to_a_plugin_that_sleeps_waits_for_it() {
    let daemon = scaled("min: 0, max: 1, idle_timeout: 300ms").await;
    is_idle(&daemon).await;
    let mut request = Request::new(echo("", 0));
    request.set_timeout(Duration::from_secs(30));
    let answer = daemon.probe().echo(request).await.unwrap().into_inner();
    assert_eq!(answer.instance, "probe-0");
}

#[tokio::test]
async fn a_call_in_flight_keeps_a_plugin_awake() {
    let daemon = scaled("min: 0, max: 1, idle_timeout: 300ms").await;
    daemon.probe().echo(echo("", 2_000)).await.expect("an answer after much longer than the timeout");
    is_idle(&daemon).await;
}

#[tokio::test]
async fn a_warm_instance_steps_in_at_once() {
    let daemon = scaled("min: 1, max: 1, warm: 1").await;
    let neighbour = Neighbour::of(&daemon).await;
    let has = |plugin: &Plugin, state| plugin.instances.iter().find(|it| it.state() == state).cloned();
    let settled = |plugin: &Plugin| {
        has(plugin, InstanceState::Ready).is_some() && has(plugin, InstanceState::Warm).is_some()
    };
    let plugin = daemon.wait_for("probe", settled).await;
    assert_eq!((plugin.state(), plugin.ready_instances, plugin.wanted_instances), (PluginState::Ready, 1, 1));
    let ready = has(&plugin, InstanceState::Ready).unwrap();
    let warm = has(&plugin, InstanceState::Warm).unwrap();
    let who = async || daemon.probe().echo(echo("", 0)).await.unwrap().into_inner().instance;
    for _ in 0..50 {
        assert_eq!(who().await, ready.name);
    }
    let status = daemon.probe().echo(pinned(echo("", 0), &warm.name)).await.unwrap_err();
    assert_eq!(status.message(), format!("instance {} of plugin probe is starting", warm.name));
    let explained = daemon.cli(&["explain", SERVICE_NAME]).await.ok();
    assert!(explained.contains("kept warm"), "{explained}");

    kill(ready.pid);
    let stepped_in =
        |plugin: &Plugin| has(plugin, InstanceState::Ready).is_some_and(|it| it.name == warm.name);
    let plugin = daemon.wait_for("probe", stepped_in).await;
    let promoted = has(&plugin, InstanceState::Ready).unwrap();
    assert_eq!((&promoted.instance_id, promoted.restarts), (&warm.instance_id, 0));
    for _ in 0..50 {
        assert_eq!(who().await, warm.name);
    }
    // The one that died is the warm one now.
    let plugin = daemon.wait_for("probe", settled).await;
    assert_eq!(has(&plugin, InstanceState::Warm).unwrap().name, ready.name);
    daemon.cli(&["health"]).await.ok();
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn a_warm_instance_is_taken_when_more_are_wanted() {
    let daemon = scaled("min: 1, max: 2, warm: 1, target_in_flight: 2, scale_up_after: 100ms").await;
    daemon.wait_for("probe", |plugin| plugin.instances.len() == 2).await;
    let warm = daemon.instance("probe", 1).await;
    let load = Load::of(&daemon, 8);
    let plugin = daemon.wait_for("probe", |plugin| plugin.ready_instances == 2).await;
    assert_eq!(plugin.instances[1].instance_id, warm.instance_id);
    daemon.wait_for("probe", |plugin| plugin.instances.len() == 3).await;
    load.finish().await;
}

#[tokio::test]
async fn processes_start_one_after_the_other_when_told() {
    // Each notes whether another one was on its way at the same time.
    let probe = plugmesh_tests::binary("probe").display();
    let script = format!("mkdir ../lock || touch ../overlap; sleep 0.1; rmdir ../lock; exec {probe}");
    let plugin = |name: &str| PluginDir::script(name, &script).instances(2).env("PROBE_NAME", name);
    let builder = Daemon::builder().plugin(plugin("one")).plugin(plugin("two")).plugin(plugin("three"));
    let daemon = builder.config("max_concurrent_starts: 1").start().await;
    for name in ["one", "two", "three"] {
        assert_eq!(daemon.wait_ready(name).await.ready_instances, 2);
    }
    assert!(!daemon.plugins_dir().join("overlap").exists());
}
