//! Peers that listen and speak something else than HTTP/2, or HTTP/2 to no good end.

use std::time::{Duration, Instant};

use plugmesh_tests::{Neighbour, eventually, processes_mentioning};

use crate::raw::call;
use crate::scene::{Scene, hostile};

#[tokio::test]
async fn whoever_speaks_no_http2_is_told_what_it_speaks() {
    let scene = Scene::new().await;
    let faults = [
        (
            "speaks-http1",
            "it listens on unix://HOME/run/plugmesh-*/speaks-http1-0-*.sock but speaks HTTP/1; serve gRPC over HTTP/2 there",
        ),
        (
            "speaks-garbage",
            "it listens on unix://HOME/run/plugmesh-*/speaks-garbage-0-*.sock but answers with bytes that are not HTTP/2 (00 bb 77 33 ef ab 66 22 de …); serve gRPC over HTTP/2 there",
        ),
        (
            "closes-at-once",
            "it listens on unix://HOME/run/plugmesh-*/closes-at-once-0-*.sock but closes connections at once; serve gRPC over HTTP/2 there",
        ),
        (
            "says-nothing",
            "it accepts connections but did not answer the handshake within 2s; look at its log, or raise start_timeout if it needs longer",
        ),
        (
            "reads-only",
            "it accepts connections but did not answer the handshake within 2s; look at its log, or raise start_timeout if it needs longer",
        ),
        (
            "window-of-zero",
            "it accepts connections but did not answer the handshake within 2s; look at its log, or raise start_timeout if it needs longer",
        ),
        (
            "resets-everything",
            "the handshake broke off: instance resets-everything-0 of plugin resets-everything: the stream was reset (INTERNAL_ERROR)",
        ),
        ("goaway-at-once", "the connection to it broke before it was ready ({*}); look at its log"),
        ("goaway-with-error", "the connection to it broke before it was ready ({*}); look at its log"),
        ("empty-data-flood", "the connection to it broke before it was ready ({*}); look at its log"),
        ("oversized-frame", "the connection to it broke before it was ready ({*}); look at its log"),
        ("headers-without-end", "the connection to it broke before it was ready ({*}); look at its log"),
    ];
    scene.refuses(faults.map(|(mode, text)| (hostile(mode), text)).into()).await;
    scene.end().await;
}

/// In a test of its own: a flood takes processor time from whatever starts beside it.
#[tokio::test]
async fn floods_of_control_frames_end_with_the_start() {
    let scene = Scene::new().await;
    for mode in ["settings-flood", "ping-flood"] {
        let text = "it accepts connections but did not answer the handshake within 2s; look at its log, or raise \
                    start_timeout if it needs longer";
        scene.refuses(vec![(hostile(mode), text)]).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn floods_of_control_frames_from_a_ready_plugin_leave_the_others_their_turns() {
    let scene = Scene::new().await;
    for method in ["FloodOfPings", "FloodOfSettings"] {
        scene.load(&hostile("honest").line("drain_timeout: 1s")).await.unwrap();
        call(&scene.daemon, method, &[]).await.is_ok();
        let neighbour = Neighbour::of(&scene.daemon).await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            scene.daemon.plugin("honest").await;
        }
        let calls = neighbour.finish().await;
        assert!(calls > 20, "{calls} calls in two seconds of {method}");
        scene.unload("honest").await;
    }
    scene.end().await;
}

#[tokio::test]
async fn sigkill_of_the_guardian_ends_a_host_that_is_flooded() {
    let scene = Scene::new().await;
    scene.load(&hostile("honest")).await.unwrap();
    call(&scene.daemon, "FloodOfSettings", &[]).await.is_ok();
    let home = scene.daemon.home().to_owned();
    scene.daemon.process().signal(rustix::process::Signal::KILL);
    eventually("everything ends", async || processes_mentioning(&home).is_empty().then_some(())).await;
}
