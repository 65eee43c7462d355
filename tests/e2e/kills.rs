//! Nothing outlives a host, however it goes.

use std::process::Command;

use plugmesh_tests::{Daemon, PluginDir, Process, binary, eventually, processes_mentioning};
use rustix::process::{Pid, Signal, kill_process};

/// A plugin below a shell, with a child of the shell beside it and one in a session of its own.
fn wrapped(setsid: bool) -> PluginDir {
    let apart = if setsid { "setsid sleep 10001 &" } else { "" };
    let probe = binary("probe").display();
    PluginDir::script("probe", &format!("sleep 10000 &\n{apart}\n{probe}\necho never the last command"))
}

pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn sigkill_of_the_daemon_leaves_nothing() {
    let daemon = Daemon::builder().plugin(wrapped(true)).plugin(PluginDir::calculator(2)).start().await;
    let home = daemon.home().to_owned();
    // Guardian, daemon and its watchdog, two calculators, shell, probe and two that sleep.
    let before = processes_mentioning(&home).len();
    assert!(before >= 8, "{before} processes");
    kill(daemon.pid().await);
    let (ran, _dir) = daemon.ended().await;
    assert_eq!(ran.code, 128 + 9, "{ran:#?}");
    assert_eq!(processes_mentioning(&home), Vec::<u32>::new());
}

#[tokio::test]
async fn sigkill_of_the_guardian_leaves_nothing() {
    let daemon = Daemon::builder().plugin(wrapped(true)).plugin(PluginDir::calculator(2)).start().await;
    let home = daemon.home().to_owned();
    daemon.process().signal(Signal::KILL);
    eventually("everything ends", async || processes_mentioning(&home).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_plugin_that_is_unloaded_leaves_nothing() {
    let daemon = Daemon::builder().plugin(PluginDir::calculator(1)).start().await;
    let before = plugmesh_tests::Leaks::of(&daemon).await;
    let dir = daemon.write(&wrapped(true));
    daemon.cli(&["load", &dir.display().to_string()]).await.ok();
    assert_ne!(plugmesh_tests::Leaks::of(&daemon).await, before);
    daemon.cli(&["unload", "probe"]).await.ok();
    before.back_to(&daemon).await;
}

/// A program that links the host, with plugins below `home`.
struct Linked {
    home: tempfile::TempDir,
    process: Process,
}

impl Linked {
    async fn start(what: &str, plugin: PluginDir) -> Self {
        let home = tempfile::Builder::new().prefix("pm-").tempdir_in("/tmp").unwrap();
        plugin.write(&home.path().join("plugins"));
        std::fs::create_dir(home.path().join("run")).unwrap();
        let mut command = Command::new(binary("linker"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home.path());
        let process = Process::start(command.arg(what).arg(home.path().join("plugins")));
        assert!(process.wrote("started").await, "{}", process.err());
        Self { home, process }
    }

    /// What runs beside the program itself.
    fn others(&self) -> Vec<u32> {
        let mut all = processes_mentioning(self.home.path());
        all.retain(|pid| *pid != self.process.pid());
        all
    }
}

#[tokio::test]
async fn sigkill_of_a_program_that_links_the_host_leaves_no_child_and_no_group() {
    let linked = Linked::start("hold", wrapped(false)).await;
    assert!(linked.others().len() >= 3, "shell, probe and sleep");
    linked.process.signal(Signal::KILL);
    eventually("everything ends", async || linked.others().is_empty().then_some(())).await;
}

#[tokio::test]
async fn dropping_the_host_leaves_no_process() {
    let linked = Linked::start("drop", wrapped(true)).await;
    assert!(linked.process.wrote("dropped").await);
    eventually("everything ends", async || linked.others().is_empty().then_some(())).await;
    drop(linked);
}
