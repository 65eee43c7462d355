//! What a daemon is started with.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{Daemon, connect_unix, environment, socket_in};
use crate::binaries::binary;
use crate::plugin_dir::PluginDir;
use crate::process::{Process, Ran};
use crate::wait::DEADLINE;

/// What a started host prints last.
const STARTED: &str = "Ctrl-C drains";

/// A daemon to be.
#[derive(Debug)]
#[must_use = "a daemon is described here and started by `start`"]
pub struct DaemonBuilder {
    plugins: Vec<PluginDir>,
    config: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    program: Option<&'static Path>,
    home: TempDir,
}

impl Default for DaemonBuilder {
    fn default() -> Self {
        // Short: the path of a socket has 107 bytes.
        let home = tempfile::Builder::new().prefix("pm-").tempdir_in("/tmp").expect("a writable /tmp");
        for (name, mode) in [("run", 0o700), ("home", 0o755), ("plugins", 0o755)] {
            std::fs::DirBuilder::new().mode(mode).create(home.path().join(name)).expect("a new directory");
        }
        Self { plugins: Vec::new(), config: None, args: Vec::new(), env: Vec::new(), program: None, home }
    }
}

impl DaemonBuilder {
    /// Also runs this plugin.
    pub fn plugin(mut self, plugin: PluginDir) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// The content of `plugmesh.yaml`, which lies in the directory of plugins.
    pub fn config(mut self, yaml: impl Into<String>) -> Self {
        self.config = Some(yaml.into());
        self
    }

    /// Another argument of `serve`.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A variable of the daemon's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs this program instead of `plugmesh`.
    pub fn program(mut self, program: &'static Path) -> Self {
        self.program = Some(program);
        self
    }

    /// The directory that will hold everything of the daemon.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts it and waits until every plugin has started or failed.
    pub async fn start(self) -> Daemon {
        self.start_within(DEADLINE).await
    }

    /// As [`start`](Self::start), for plugins that are built first.
    pub async fn start_within(self, time: Duration) -> Daemon {
        let daemon = self.spawn();
        let started = daemon.process.wrote_within(STARTED, time).await;
        assert!(started, "the daemon ended early:\n{}{}", daemon.process.out(), daemon.process.err());
        daemon
    }

    /// Starts it and waits for nothing.
    pub fn spawn(self) -> Daemon {
        let process = Process::start(&mut self.command());
        let channel = connect_unix(socket_in(self.home.path()));
        Daemon { process, channel, home: self.home }
    }

    /// Runs it to its end, which it must find by itself, and keeps its directories.
    pub async fn ended(self) -> (Ran, TempDir) {
        (Ran::of(&mut self.command()).await, self.home)
    }

    fn command(&self) -> Command {
        let home = self.home.path();
        let plugins = home.join("plugins");
        self.plugins.iter().for_each(|plugin| drop(plugin.write(&plugins)));
        if let Some(config) = &self.config {
            std::fs::write(plugins.join("plugmesh.yaml"), config).expect("a writable file");
        }
        let program = self.program.unwrap_or_else(|| binary("plugmesh"));
        let mut command = environment(program, home);
        command.arg("serve").arg(&plugins).args(&self.args).envs(self.env.iter().cloned());
        command
    }
}
