//! Peers that listen and speak something else than HTTP/2, or HTTP/2 to no good end.

use crate::scene::{Scene, hostile};

#[tokio::test]
async fn whoever_speaks_no_http2_is_told_what_it_speaks() {
    let scene = Scene::new().await;
    let faults = [
        ("speaks-http1", ""),
        ("speaks-garbage", ""),
        ("closes-at-once", ""),
        ("says-nothing", ""),
        ("reads-only", ""),
        ("window-of-zero", ""),
        ("resets-everything", ""),
        ("goaway-at-once", ""),
        ("goaway-with-error", ""),
        ("empty-data-flood", ""),
        ("oversized-frame", ""),
        ("headers-without-end", ""),
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
