//! Handshakes, schemas and start phases.

use plugmesh::admin::v1::PluginState;

use crate::scene::{Scene, hostile};

#[tokio::test]
async fn a_handshake_that_breaks_the_contract_is_refused() {
    let scene = Scene::new().await;
    let faults = [
        ("handshake-other-version", ""),
        ("handshake-empty", ""),
        ("handshake-other-name", ""),
        ("handshake-terminal-name", ""),
        ("handshake-bad-semver", ""),
        ("handshake-capability", ""),
        ("handshake-bad-dependency", ""),
        ("handshake-bad-service", ""),
        ("handshake-long-description", ""),
        ("handshake-100mb", ""),
        ("handshake-unauthenticated", ""),
        ("handshake-bad-message", ""),
        ("handshake-hangs", ""),
    ];
    scene.refuses(faults.map(|(mode, text)| (hostile(mode), text)).into()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_schema_that_is_none_or_is_not_met_is_refused() {
    let scene = Scene::new().await;
    let strict = hostile("schema-strict").line("config: {port: 70000, password: secret, colour: red}");
    let faults = [
        ("schema-no-json", ""),
        ("schema-no-schema", ""),
        ("schema-remote", ""),
        ("schema-cyclic", ""),
        ("schema-deep", ""),
    ];
    let faults = faults.map(|(mode, text)| (hostile(mode), text)).into_iter();
    scene.refuses(faults.chain([(strict, "")]).collect()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_start_phase_that_fails_hangs_or_kills_is_named() {
    let scene = Scene::new().await;
    let faults = [("phase-fails", ""), ("phase-hangs", ""), ("phase-dies", "")];
    scene.refuses(faults.map(|(mode, text)| (hostile(mode), text)).into()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_requirement_of_the_handshake_that_is_not_met_is_shown() {
    let scene = Scene::new().await;
    let name = "handshake-missing-dependency";
    scene.load(&hostile(name)).await.unwrap();
    let plugin = scene.daemon.plugin(name).await;
    assert_eq!(plugin.state(), PluginState::Ready);
    let required = &plugin.requires[0];
    assert_eq!((&*required.plugin, &*required.version_range, required.satisfied), ("nobody", "^2", false));
    let warning = "its handshake says that it requires nobody ^2, and there is no such plugin; calls to that one \
                   will fail";
    scene.daemon.logged(warning).await;
    scene.unload(name).await;
    scene.end().await;
}
