//! Instances that are alive and do not answer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use plugmesh::admin::v1::{HealthState, InstanceState};
use plugmesh_tests::{Daemon, Neighbour, PluginDir, eventually};
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

use crate::calls::{begun, echo, pinned};

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

async fn probes(instances: u32, health_check: &str) -> Daemon {
    let probe = PluginDir::probe(instances).line("balance: round_robin");
    let probe = probe.line(&format!("health_check: {{{health_check}}}"));
    Daemon::builder().plugin(probe).plugin(PluginDir::calculator(1)).start().await
}

#[tokio::test]
async fn a_frozen_instance_leaves_the_rotation_and_comes_back() {
    let daemon = probes(3, "timeout: 500ms, kill_after: 1h").await;
    let neighbour = Neighbour::of(&daemon).await;
    let frozen = daemon.instance("probe", 1).await;
    // Each caller meets it sooner or later, waits there, and is let go.
    let (began, froze) = (Instant::now(), frozen.pid);
    let callers = (0..6).map(|_| {
        let mut probe = daemon.probe();
        tokio::spawn(async move {
            loop {
                match probe.echo(echo("", 0)).await {
                    Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Err(status) => return status,
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    signal(froze, Signal::STOP);
    let hung = |plugin: &plugmesh::admin::v1::Plugin| {
        plugin.instances[1].message.contains("its process is stopped, by SIGSTOP")
    };
    let plugin = daemon.wait_for("probe", hung).await;
    println!("hung after {:?}", began.elapsed());
    assert_eq!(plugin.instances[1].state(), InstanceState::Unhealthy);
    let let_go = tokio::time::timeout(plugmesh_tests::DEADLINE, join_all(callers)).await;
    for status in let_go.expect("callers that are let go") {
        let status = status.unwrap();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().starts_with("instance probe-1 of plugin probe"), "{status:?}");
    }
    println!("all calls ended after {:?}", began.elapsed());
    for _ in 0..200 {
        assert_ne!(daemon.probe().echo(echo("", 0)).await.unwrap().into_inner().instance, "probe-1");
    }
    let health = daemon.cli(&["health"]).await;
    assert_eq!(health.code, 3, "{health:#?}");
    assert!(health.out.starts_with("degraded: probe-1 has not answered for "), "{}", health.out);
    let status = daemon.probe().echo(pinned(echo("", 0), "probe-1")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    signal(froze, Signal::CONT);
    let plugin = daemon.wait_ready("probe").await;
    assert_eq!((&plugin.instances[1].instance_id, plugin.instances[1].restarts), (&frozen.instance_id, 0));
    let who = async || Some(daemon.probe().echo(echo("", 0)).await.ok()?.into_inner().instance);
    eventually("it is picked again", async || (who().await? == "probe-1").then_some(())).await;
    daemon.cli(&["health"]).await.ok();
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn by_default_one_that_does_not_answer_gets_no_calls_and_is_not_condemned() {
    let daemon = probes(2, "").await;
    let frozen = daemon.instance("probe", 1).await;
    let mut waits = daemon.probe();
    signal(frozen.pid, Signal::STOP);
    let waiting = tokio::spawn(async move { waits.echo(pinned(echo("", 0), "probe-1")).await });
    let doubted = |plugin: &plugmesh::admin::v1::Plugin| {
        plugin.instances[1].message.contains("it has not answered a health check yet")
    };
    daemon.wait_for("probe", doubted).await;
    for _ in 0..50 {
        assert_eq!(daemon.probe().echo(echo("", 0)).await.unwrap().into_inner().instance, "probe-0");
    }
    signal(frozen.pid, Signal::CONT);
    waiting.await.unwrap().expect("the call that waited there is answered");
    let plugin = daemon.wait_ready("probe").await;
    assert_eq!((&plugin.instances[1].instance_id, plugin.instances[1].restarts), (&frozen.instance_id, 0));
}

#[tokio::test]
async fn a_frozen_process_is_killed_and_started_again() {
    let daemon = probes(1, "timeout: 500ms, kill_after: 200ms").await;
    let neighbour = Neighbour::of(&daemon).await;
    let frozen = daemon.instance("probe", 0).await;
    let mut probe = daemon.probe();
    let call = tokio::spawn(async move { probe.echo(echo("lost", 600_000)).await });
    begun(&daemon, "lost").await;
    signal(frozen.pid, Signal::STOP);
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let after = daemon.wait_restarted("probe", &frozen.instance_id).await.instances.swap_remove(0);
    assert_eq!(after.restarts, 1);
    daemon.probe().echo(echo("", 0)).await.unwrap();
    daemon.logged("so it was killed").await;
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn an_instance_that_is_slow_but_answers_is_left_alone() {
    let daemon = probes(1, "interval: 100ms, timeout: 100ms, failure_limit: 1").await;
    let mut probe = daemon.probe();
    let call = tokio::spawn(async move { probe.echo(echo("slow", 3_000)).await });
    call.await.unwrap().expect("a call that takes long is no hang");
    let instance = daemon.instance("probe", 0).await;
    assert_eq!((instance.state(), instance.health()), (InstanceState::Ready, HealthState::Healthy));
    let checked = instance.health_check_time.expect("it was asked meanwhile");
    assert!(instance.health_response_duration.is_some(), "at {checked}");
}

#[tokio::test]
async fn without_checks_nothing_is_asked() {
    let daemon = probes(1, "enabled: false, interval: 100ms").await;
    let mut probe = daemon.probe();
    tokio::spawn(async move { probe.echo(echo("slow", 1_000)).await }).await.unwrap().unwrap();
    assert_eq!(daemon.instance("probe", 0).await.health_check_time, None);
}

#[tokio::test]
async fn a_program_that_blocks_its_runtime_does_not_make_its_plugins_look_dead() {
    let check = "health_check: {interval: 100ms, timeout: 100ms, failure_limit: 1}";
    let linked = crate::balance::linked(PluginDir::probe(1).line(check), |host| host).await;
    let mut probe = linked.host.client(plugmesh_tests::probe::probe_service_client::ProbeServiceClient::new);
    let id = |linked: &crate::balance::Linked| linked.host.plugins()[0].instances[0].instance_id.clone();
    let before = id(&linked);
    let call = tokio::spawn(async move { probe.echo(echo("", 1_500)).await });
    // Calls and connections are on this thread.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(400));
        tokio::task::yield_now().await;
    }
    call.await.unwrap().expect("a call that was not cut off");
    assert_eq!(id(&linked), before);
    let instance = linked.host.plugins().swap_remove(0).instances.swap_remove(0);
    assert_eq!((instance.state(), instance.health()), (InstanceState::Ready, HealthState::Healthy));
    assert!(instance.health_check_time.is_some(), "it was asked meanwhile");
}
