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
            (file("wrong-machine", "run.sh", arm), "HOME/plugins/wrong-machine/run.sh is built for arm ELF, this machine is x86_64; build it for this one"),
            (
                file("no-interpreter", "run.sh", "#!/opt/no/such/python3\n"),
                "HOME/plugins/no-interpreter/run.sh is a script for /opt/no/such/python3, which does not exist; \
                 install it or correct the first line",
            ),
            (
                file("no-env-interpreter", "run.sh", "#!/usr/bin/env no-such-python\n"), "it exited with status 127 before it listened on unix://HOME/run/plugmesh-*/no-env-interpreter-0-*.sock (status 127 is how a shell says that a command was not found; check PATH and the script); its last lines were:\n  /usr/bin/env: ‘no-such-python’: No such file or directory",
            ),
            (
                PluginDir::command("not-on-path", Path::new("no-such-interpreter")),
                "no-such-interpreter is in no directory of PATH; install it or name its path",
            ),
            (file("no-first-line", "run.sh", "print('hello')\n"), "HOME/plugins/no-first-line/run.sh is text without a `#!` line, no program; a script needs a first line such as `#!/bin/sh`"),
        ])
        .await;
    scene.end().await;
}

#[tokio::test]
async fn programs_that_never_listen_show_their_last_lines() {
    let scene = Scene::new().await;
    scene
        .refuses(vec![
            (script("exits", "echo one >&2; echo two >&2; exit 7"), "it exited with status 7 before it listened on unix://HOME/run/plugmesh-*/exits-0-*.sock; its last lines were:\n  one\n  two"),
            (script("exits-well", "exit 0"), "it exited with status 0 before it listened on unix://HOME/run/plugmesh-*/exits-well-0-*.sock; it wrote nothing to standard error"),
            (script("is-killed", "echo about to fall >&2; kill -SEGV $$"), "it was killed by SIGSEGV before it listened on unix://HOME/run/plugmesh-*/is-killed-0-*.sock; its last lines were:\n  about to fall"),
            (script("never-listens", "echo still thinking >&2; exec sleep 1000"), "after 1s it still runs but has not listened on unix://HOME/run/plugmesh-*/never-listens-0-*.sock; raise start_timeout if it needs longer; its last lines were:\n  still thinking"),
            (script("talks", "i=0; while [ $i -lt 100 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"), "it exited with status 1 before it listened on unix://HOME/run/plugmesh-*/talks-0-*.sock; its last lines were:\n  line 90\n  line 91\n  line 92\n  line 93\n  line 94\n  line 95\n  line 96\n  line 97\n  line 98\n  line 99"),
            (hostile("deletes-socket"), "after 2s it still runs but has not listened on unix://HOME/run/plugmesh-*/deletes-socket-0-*.sock; raise start_timeout if it needs longer; it wrote nothing to standard error"),
        ])
        .await;
    scene.end().await;
}
