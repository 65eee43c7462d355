//! The health service.

use plugmesh::admin::v1::PluginState;

use crate::scene::{Scene, hostile};

#[tokio::test]
async fn a_plugin_that_never_says_that_it_is_well_does_not_start() {
    let scene = Scene::new().await;
    let faults = [
        ("health-not-serving", ""),
        ("health-unknown-number", ""),
        ("health-hangs", ""),
        ("health-refused", ""),
        ("health-garbage", ""),
        ("health-ends-silently", ""),
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
