//! Files that do not run, programs that end or never listen.

use std::path::Path;

use plugmesh_tests::PluginDir;

use crate::scene::{Scene, hostile};

fn file(name: &str, file: &str, content: &str) -> PluginDir {
    PluginDir::command(name, Path::new(&format!("./{file}"))).file(file, content)
}

/// A script that may take a second to listen.
fn script(name: &str, script: &str) -> PluginDir {
    PluginDir::script(name, script).line("start_timeout: 1s")
}

#[tokio::test]
async fn files_that_do_not_run_say_what_they_are() {
    let scene = Scene::new().await;
    // Class 32, little endian, executable, machine 40: enough of a header for 32-bit ARM.
    let arm = "\u{7f}ELF\u{1}\u{1}\u{1}\0\0\0\0\0\0\0\0\0\u{2}\0\u{28}\0\u{1}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    scene
        .refuses(vec![
            (
                PluginDir::command("missing-file", Path::new("./bin/run")),
                "HOME/plugins/missing-file/bin/run does not exist; build the plugin, or correct its `command`",
            ),
            (
                PluginDir::command("misspelt", Path::new("./calculate")).file("calculator", ""),
                "HOME/plugins/misspelt/calculate does not exist; is HOME/plugins/misspelt/calculator meant?",
            ),
            (
                file("no-permission", "run", "#!/bin/sh\n"),
                "HOME/plugins/no-permission/run may not be executed (mode 0644); run `chmod +x \
                 HOME/plugins/no-permission/run`",
            ),
            (file("wrong-machine", "run.sh", arm), ""),
            (
                file("no-interpreter", "run.sh", "#!/opt/no/such/python3\n"),
                "HOME/plugins/no-interpreter/run.sh is a script for /opt/no/such/python3, which does not exist; \
                 install it or correct the first line",
            ),
            (
                file("no-env-interpreter", "run.sh", "#!/usr/bin/env no-such-python\n"),
                "",
            ),
            (
                PluginDir::command("not-on-path", Path::new("no-such-interpreter")),
                "no-such-interpreter is in no directory of PATH; install it or name its path",
            ),
            (file("no-first-line", "run.sh", "print('hello')\n"), ""),
        ])
        .await;
    scene.end().await;
}

#[tokio::test]
async fn programs_that_never_listen_show_their_last_lines() {
    let scene = Scene::new().await;
    scene
        .refuses(vec![
            (script("exits", "echo one >&2; echo two >&2; exit 7"), ""),
            (script("exits-well", "exit 0"), ""),
            (script("is-killed", "echo about to fall >&2; kill -SEGV $$"), ""),
            (script("never-listens", "echo still thinking >&2; exec sleep 1000"), ""),
            (script("talks", "i=0; while [ $i -lt 100 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"), ""),
            (hostile("deletes-socket"), ""),
        ])
        .await;
    scene.end().await;
}
