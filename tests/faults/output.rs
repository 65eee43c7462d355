//! What a plugin writes to its standard output and error.

use plugmesh_tests::{PluginDir, binary};

use crate::raw::call;
use crate::scene::Scene;

/// Most that the host may grow by while a gigabyte comes in.
const GROWTH: u64 = 64 << 20;

/// The most memory that a process has ever used, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_gigabyte_without_a_line_break_is_taken_and_forgotten() {
    let scene = Scene::new().await;
    let pid = scene.daemon.pid().await;
    let flood =
        format!("(head -c 1073741824 /dev/zero; : > over) &\nexec {} honest", binary("hostile").display());
    let before = peak(pid);
    scene.load(&PluginDir::script("flood", &flood)).await.unwrap();
    let mut calls = 0;
    let over = scene.daemon.plugins_dir().join("flood/over");
    while !over.exists() {
        call(&scene.daemon, "Echo", &[]).await.is_ok();
        calls += 1;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(calls > 1, "the plugin is called while it floods");
    let growth = peak(pid).saturating_sub(before);
    assert!(growth <= GROWTH, "the host grew by {} MiB", growth >> 20);
    scene.unload("flood").await;
    scene.end().await;
}
