//! Descriptors that are not what they should be.

use plugmesh_tests::PluginDir;

use crate::scene::{Scene, hostile};

#[tokio::test]
async fn a_plugin_that_cannot_be_described_does_not_start() {
    let scene = Scene::new().await;
    let faults = [
        ("reflection-absent", "it has no server reflection; name its services in the manifest"),
        (
            "reflection-garbage",
            "it describes itself with something that is no file descriptor: failed to decode Protobuf message: invalid wire type value: 7; name its services in the manifest",
        ),
        (
            "reflection-many-services",
            "it describes more than 1024 services; name those of its services that are to be called in the manifest",
        ),
        (
            "reflection-giant",
            "it describes more than 16 MiB of descriptors; name those of its services that are to be called in the manifest",
        ),
        ("reflection-hangs", "server reflection did not end within 5s; name its services in the manifest"),
        (
            "reflection-bottomless",
            "it describes more than 16 MiB of descriptors; name those of its services that are to be called in the manifest",
        ),
    ];
    scene.refuses(faults.map(|(mode, text)| (hostile(mode), text)).into()).await;
    scene.end().await;
}

#[tokio::test]
async fn one_whose_services_the_manifest_names_runs_and_is_only_warned_about() {
    let scene = Scene::new().await;
    let named = |mode: &str| -> PluginDir { hostile(mode).line("services: [hostile.v1.HostileService]") };
    for (mode, why) in
        [("reflection-garbage", "no file descriptor"), ("reflection-giant", "16 MiB of descriptors")]
    {
        scene.load(&named(mode)).await.unwrap();
        scene.daemon.logged("no descriptors, so reflection will not show it: ").await;
        scene.daemon.logged(why).await;
        crate::raw::call(&scene.daemon, "Echo", &[]).await.is_ok();
        scene.unload(mode).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn imports_in_a_circle_answers_without_end_and_dangling_types_do_no_harm() {
    let scene = Scene::new().await;
    for mode in ["reflection-cyclic", "reflection-endless", "reflection-dangling", "reflection-no-services"] {
        scene.load(&hostile(mode)).await.unwrap();
        // The gateway's own reflection goes on with those that are well.
        let services = scene.daemon.cli(&["services"]).await.ok();
        assert!(services.contains("calculator.v1.CalculatorService"), "{mode}: {services}");
        let called = scene.daemon.cli(&["call", "calculator.v1.CalculatorService/Add", "-d", "{}"]).await;
        assert_eq!(called.code, 0, "{mode}: {called:#?}");
        scene.unload(mode).await;
    }
    scene.end().await;
}
