//! Plugins that end in mid-stream, and plugins that do not want to end.

use std::time::{Duration, Instant};

use plugmesh::admin::v1::UnloadPluginRequest;
use tonic::Code;

use crate::raw::call;
use crate::scene::{Scene, hostile};

#[tokio::test]
async fn a_plugin_that_dies_under_a_call_is_named_and_comes_back() {
    let scene = Scene::new().await;
    scene.load(&hostile("honest")).await.unwrap();
    for (method, messages) in [("DieInMidStream", 1), ("Vanish", 0)] {
        let before = scene.daemon.wait_ready("honest").await.instances.swap_remove(0);
        let answer = call(&scene.daemon, method, &[]).await;
        assert_eq!(answer.code, Some(Code::Unavailable as i32), "{answer:?}");
        assert_eq!(answer.body.len(), 12 * messages, "what was sent before arrives");
        let said = "instance honest-0 of plugin honest: the connection was lost (";
        assert!(answer.message.starts_with(said), "{answer:?}");
        scene.daemon.wait_restarted("honest", &before.instance_id).await;
        call(&scene.daemon, "Echo", &[]).await.is_ok();
    }
    scene.daemon.logged("it was killed by SIGABRT; it last wrote:\\n  falling over in mid-stream").await;
    scene.unload("honest").await;
    scene.end().await;
}

#[tokio::test]
async fn one_that_closes_its_connection_when_called_gets_new_ones() {
    let scene = Scene::new().await;
    scene.load(&hostile("closes-when-called")).await.unwrap();
    for _ in 0..2 {
        let answer = call(&scene.daemon, "Echo", &[]).await;
        assert_eq!(answer.code, Some(Code::Unavailable as i32), "{answer:?}");
        assert!(
            answer.message.starts_with("instance closes-when-called-0 of plugin closes-when-called"),
            "{answer:?}"
        );
    }
    scene.unload("closes-when-called").await;
    scene.end().await;
}

#[tokio::test]
async fn none_can_refuse_to_end() {
    let scene = Scene::new().await;
    let modes = ["ignores-sigterm", "drain-hangs", "cleanup-hangs", "cleanup-fails"];
    let ends = modes.map(|mode| {
        let scene = &scene;
        async move {
            scene.load(&hostile(mode).line("drain_timeout: 1s")).await.unwrap();
            let began = Instant::now();
            let request = UnloadPluginRequest { name: mode.into() };
            scene.daemon.admin().unload_plugin(request).await.unwrap();
            // The graces of drain, stop phases and SIGTERM, and time for a busy machine.
            assert!(began.elapsed() < Duration::from_secs(25), "{mode} took {:?}", began.elapsed());
        }
    });
    futures_util::future::join_all(ends).await;
    for text in ["PHASE_CLEANUP did not end within 5s", "PHASE_PRE_CLEANUP failed: INTERNAL: no"] {
        scene.daemon.logged(text).await;
    }
    scene.end().await;
}
