//! The health service.

use plugmesh::admin::v1::PluginState;

use crate::scene::{Scene, hostile};

#[tokio::test]
async fn a_plugin_that_never_says_that_it_is_well_does_not_start() {
    let scene = Scene::new().await;
    let faults = [
        (
            "health-not-serving",
            "it answers but its health was not SERVING within 2s: it says NOT_SERVING; raise start_timeout if it needs longer",
        ),
        (
            "health-unknown-number",
            "it answers but its health was not SERVING within 2s: it says NOT_SERVING; raise start_timeout if it needs longer",
        ),
        (
            "health-hangs",
            "it answers but its health was not SERVING within 2s: it does not answer grpc.health.v1.Health/Watch; a plugin without a health service answers UNIMPLEMENTED",
        ),
        (
            "health-refused",
            "it answers but its health was not SERVING within 2s: its health cannot be learnt: PERMISSION_DENIED: mind your own business; a plugin without a health service answers UNIMPLEMENTED",
        ),
        (
            "health-garbage",
            "it answers but its health was not SERVING within 2s: its health cannot be learnt: INTERNAL: failed to decode Protobuf message: invalid varint; a plugin without a health service answers UNIMPLEMENTED",
        ),
        (
            "health-ends-silently",
            "it answers but its health was not SERVING within 2s: its health cannot be learnt: UNAVAILABLE: the watch ended; a plugin without a health service answers UNIMPLEMENTED",
        ),
    ];
    scene.refuses(faults.map(|(mode, text)| (hostile(mode), text)).into()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_watch_that_breaks_after_a_good_word_is_begun_again() {
    let scene = Scene::new().await;
    for mode in ["health-ends", "health-breaks"] {
        scene.load(&hostile(mode)).await.unwrap();
        assert_eq!(scene.daemon.plugin(mode).await.state(), PluginState::Ready);
        scene.unload(mode).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_plugin_that_changes_its_mind_all_the_time_keeps_nobody_busy() {
    let scene = Scene::new().await;
    scene.load(&hostile("health-flaps")).await.unwrap();
    // It is unwell at some time, and well at another.
    for wanted in [PluginState::Unavailable, PluginState::Ready, PluginState::Unavailable] {
        scene.daemon.wait_for("health-flaps", |plugin| plugin.state() == wanted).await;
    }
    scene.unload("health-flaps").await;
    // It changed millions of times; the log does not tell each.
    let told = scene.daemon.log().matches("its health is NOT_SERVING").count();
    assert!(told < 1000, "{told} lines");
    scene.end().await;
}
