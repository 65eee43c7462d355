//! Instances that die.

use plugmesh::admin::v1::InstanceState;
use plugmesh_tests::{Daemon, Leaks, Neighbour, PluginDir};
use tonic::Code;

use crate::calls::{begun, echo, pinned};
use crate::kills::kill;

async fn probes(instances: u32) -> Daemon {
    Daemon::builder().plugin(PluginDir::probe(instances)).plugin(PluginDir::calculator(1)).start().await
}

#[tokio::test]
async fn a_killed_instance_comes_back_as_another_incarnation() {
    let daemon = probes(2).await;
    let neighbour = Neighbour::of(&daemon).await;
    let leaks = Leaks::of(&daemon).await;
    let before = daemon.instance("probe", 0).await;
    kill(before.pid);
    let after = daemon.wait_restarted("probe", &before.instance_id).await.instances.swap_remove(0);
    assert_eq!(after.name, before.name);
    assert!(after.epoch > before.epoch, "{after:#?}");
    assert_ne!((after.pid, &after.instance_id), (before.pid, &before.instance_id));
    assert_eq!(after.restarts, 1);
    let answer = daemon.probe().echo(pinned(echo("", 0), "probe-0")).await.unwrap().into_inner();
    assert_eq!(answer.instance_id, after.instance_id);
    leaks.back_to(&daemon).await;
    assert!(neighbour.finish().await > 0);
}

#[tokio::test]
async fn a_call_in_flight_on_a_killed_instance_says_which_it_was() {
    let daemon = probes(1).await;
    let before = daemon.instance("probe", 0).await;
    let mut probe = daemon.probe();
    let call = tokio::spawn(async move { probe.echo(echo("lost", 600_000)).await });
    begun(&daemon, "lost").await;
    kill(before.pid);
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().starts_with("instance probe-0 of plugin probe"), "{status:?}");
}

#[tokio::test]
async fn a_stream_in_flight_on_a_killed_instance_says_which_it_was() {
    let daemon = probes(1).await;
    let before = daemon.instance("probe", 0).await;
    let endless =
        plugmesh_tests::probe::ProduceRequest { count: u64::MAX, interval_ms: 1, ..Default::default() };
    let mut stream = daemon.probe().produce(endless).await.unwrap().into_inner();
    stream.message().await.unwrap();
    kill(before.pid);
    let status = loop {
        if let Err(status) = stream.message().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().starts_with("instance probe-0 of plugin probe"), "{status:?}");
}

#[tokio::test]
async fn calls_go_on_at_the_other_instances() {
    let daemon = probes(3).await;
    let before = daemon.instance("probe", 1).await;
    kill(before.pid);
    let gone = |plugin: &plugmesh::admin::v1::Plugin| {
        plugin.instances[1].instance_id != before.instance_id
            || plugin.instances[1].state() != InstanceState::Ready
    };
    daemon.wait_for("probe", gone).await;
    for _ in 0..200 {
        let answer = daemon.probe().echo(echo("", 0)).await.unwrap().into_inner();
        assert_ne!(answer.instance_id, before.instance_id);
    }
}

#[tokio::test]
async fn a_pin_by_name_follows_a_restart_and_one_by_id_does_not() {
    let daemon = probes(2).await;
    let before = daemon.instance("probe", 0).await;
    let call = async |pin: &str| daemon.probe().echo(pinned(echo("", 0), pin)).await;
    assert_eq!(call("probe-0").await.unwrap().into_inner().instance_id, before.instance_id);
    assert_eq!(call(&before.instance_id).await.unwrap().into_inner().instance, "probe-0");
    kill(before.pid);
    let after = daemon.wait_restarted("probe", &before.instance_id).await.instances.swap_remove(0);
    assert_eq!(call("probe-0").await.unwrap().into_inner().instance_id, after.instance_id);
    let status = call(&before.instance_id).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let text = format!("the plugin probe has no instance {:?} (any more)", before.instance_id);
    assert_eq!(status.message(), text);
}

#[tokio::test]
async fn an_instance_that_keeps_dying_is_started_less_and_less_often() {
    let daemon = probes(1).await;
    let mut pauses = Vec::new();
    for _ in 0..3 {
        let before = daemon.wait_ready("probe").await.instances.swap_remove(0);
        kill(before.pid);
        let died = std::time::Instant::now();
        daemon.wait_restarted("probe", &before.instance_id).await;
        pauses.push(died.elapsed());
    }
    // 100, 200 and 400 ms, each give or take a fifth: pauses are a lower bound however slow the machine.
    let at_least = [80, 160, 320].map(std::time::Duration::from_millis);
    assert!(pauses.iter().zip(at_least).all(|(pause, least)| *pause >= least), "{pauses:?}");
    assert_eq!(daemon.instance("probe", 0).await.restarts, 3);
}
