//! The plugin as a process: what a person who starts it sees, and what signals and a lost log do to it.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test, which starts the plugin as a host would"
)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

struct Plugin(Child);

impl Plugin {
    fn start(runtime_dir: &std::path::Path, stderr: impl Into<Stdio>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calculator"));
        command.env_remove("PLUGMESH_LISTEN").env_remove("PLUGMESH_INSTANCE_ID");
        command.env("XDG_RUNTIME_DIR", runtime_dir).env("PLUGMESH_LOG", "trace");
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap())
    }

    /// The first lines of stdout: they end with how to end the plugin.
    fn announcement(&mut self) -> String {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut text = String::new();
        while !text.contains("Ctrl-C") {
            text += &lines.next().expect("stdout ended early");
            text += "\n";
        }
        text
    }

    fn terminate(&self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn started_by_hand_it_says_how_to_reach_it_and_ends_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let mut plugin = Plugin::start(directory.path(), Stdio::piped());
    let text = plugin.announcement();
    let address = text.split_whitespace().find(|word| word.starts_with("unix://")).unwrap();
    let socket = address.strip_prefix("unix://").unwrap();
    assert!(text.contains(&format!("grpcurl -plaintext -unix {socket} list")), "{text}");
    assert!(text.contains(&format!("plugmesh attach calculator {address}")), "{text}");
    std::os::unix::net::UnixStream::connect(socket).unwrap();

    plugin.terminate();
    assert!(plugin.0.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
    let mut log = String::new();
    plugin.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    assert!(log.contains(r#""message":"ending","reason":"signal""#), "{log}");
}

#[test]
fn a_log_that_nobody_reads_does_not_end_it() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut plugin = Plugin::start(directory.path(), writer);
    plugin.announcement();
    plugin.terminate();
    assert!(plugin.0.wait().unwrap().success());
}
