//! What is left when something dies: nothing.

use rustix::process::{Signal, kill_process, pidfd_send_signal};

use super::*;

#[tokio::test]
async fn what_a_process_leaves_behind_dies_with_it() {
    let launcher = launcher();
    let go = tempfile::tempdir().unwrap();
    let flag = go.path().join("go");
    let (spec, mut lines) = shell(&format!(
        "sh -c 'echo $$; exec sleep 1000' & setsid sh -c 'echo $$; exec sleep 1000' &
        while [ ! -e {} ]; do sleep 0.01; done; exit 1",
        flag.display()
    ));
    let process = launcher.spawn(spec).await.unwrap();
    let children = [named(&mut lines).await, named(&mut lines).await];
    std::fs::write(&flag, "").unwrap();
    assert_eq!(process.wait().await.cause, Cause::Code(1));
    for child in children {
        assert!(child.ends_within(PATIENCE));
    }
}

#[tokio::test]
async fn killing_reaches_who_left_the_group_and_forgot_the_cookie() {
    let launcher = launcher();
    let (spec, mut lines) = shell("env -i setsid --wait sh -c 'echo $$; while :; do /bin/sleep 1; done'");
    let process = launcher.spawn(spec).await.unwrap();
    let escaped = named(&mut lines).await;
    process.kill();
    assert_eq!(process.wait().await.to_string(), "was killed by SIGKILL");
    assert!(escaped.ends_within(PATIENCE));
}

#[tokio::test]
async fn a_polite_process_is_asked_and_a_deaf_one_killed() {
    let launcher = launcher();
    let (spec, mut lines) = shell("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done");
    let polite = launcher.spawn(spec).await.unwrap();
    line(&mut lines).await;
    assert_eq!(polite.stop(PATIENCE).await.cause, Cause::Code(5));

    let (spec, mut lines) = shell("trap '' TERM; sh -c 'echo $$; sleep 1000' & wait; sleep 1000");
    let deaf = launcher.spawn(spec).await.unwrap();
    let child = named(&mut lines).await;
    assert_eq!(deaf.stop(Duration::from_millis(50)).await.to_string(), "was killed by SIGKILL");
    assert!(child.ends_within(PATIENCE));
}

#[test]
fn dropping_the_last_handle_kills_without_a_runtime() {
    let launcher = launcher();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (process, held) = runtime.block_on(async {
        let (spec, mut lines) = shell("setsid sh -c 'echo $$; exec sleep 1000' & echo $$; wait");
        let process = launcher.spawn(spec).await.unwrap();
        (process, [named(&mut lines).await, named(&mut lines).await])
    });
    drop(runtime);
    let other = process.clone();
    drop(process);
    assert!(!held[0].ends_within(Duration::ZERO), "a clone is left");
    drop(other);
    for process in &held {
        assert!(process.ends_within(PATIENCE));
    }
    // Joins the threads, so that all is collected after it.
    drop(launcher);
    assert!(held.iter().any(Held::is_collected));
}

#[tokio::test]
async fn a_spawn_that_nobody_waits_for_leaves_nothing() {
    let launcher = launcher();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let (spec, _lines) = shell(&format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 1000", file.display()));
    let spawning = launcher.spawn(spec);
    // Polled once: the job is on its way.
    tokio::select! { biased; _ = spawning => {}, () = std::future::ready(()) => {} }
    // Whether it was started or not, the threads end and nothing of it runs.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(launcher);
        tell.send(()).unwrap();
    });
    told.recv_timeout(PATIENCE).unwrap();
    if let Ok(pid) = std::fs::read_to_string(&file) {
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}

#[test]
fn many_processes_leave_no_descriptor_zombie_or_thread() {
    let helper = Helper::start("counting");
    // The watchdog is the one child that stays, until the launcher goes.
    assert_eq!(helper.says("counts"), "true 1 0");
}

#[test]
fn an_adopted_orphan_is_collected_while_its_plugin_runs() {
    let helper = Helper::start("adopting");
    assert_eq!(helper.says("collected"), "true true");
}

#[test]
fn killing_a_program_that_links_the_host_kills_the_group() {
    let mut host = Helper::start("linked_host");
    let (escaped, group): (Vec<_>, Vec<_>) =
        host.names_family().into_iter().partition(|(who, _)| who == "escaped");
    host.child.kill().unwrap();
    all_end(&group);
    // What left the group is not promised to die in a program that merely links the host.
    for (_, process) in escaped {
        pidfd_send_signal(&process.pidfd, Signal::KILL).unwrap();
    }
}

/// Guardian, daemon, plugin, its child and the one that left, all running.
fn guarded() -> (Helper, Held, Held, Vec<(String, Held)>) {
    let helper = Helper::start("guarded");
    let guardian = helper.names("guardian");
    let daemon = helper.names("daemon");
    let family = helper.names_family();
    (helper, guardian, daemon, family)
}

fn all_end(family: &[(String, Held)]) {
    for (who, process) in family {
        assert!(process.ends_within(PATIENCE), "the {who} survived");
    }
}

#[test]
fn killing_the_daemon_leaves_nothing() {
    let (helper, guardian, daemon, family) = guarded();
    pidfd_send_signal(&daemon.pidfd, Signal::KILL).unwrap();
    assert_eq!(helper.says("code"), "137");
    // The guardian speaks only when all is done.
    for (who, process) in &family {
        assert!(process.ends_within(Duration::ZERO), "the {who} survived the guardian's work");
    }
    assert!(guardian.ends_within(PATIENCE));
}

#[test]
fn killing_the_guardian_leaves_nothing() {
    let (_helper, guardian, daemon, family) = guarded();
    pidfd_send_signal(&guardian.pidfd, Signal::KILL).unwrap();
    assert!(daemon.ends_within(PATIENCE));
    all_end(&family);
}

#[test]
fn the_guardian_passes_signals_on_and_answers_with_the_daemons_code() {
    let (helper, guardian, _daemon, family) = guarded();
    kill_process(guardian.pid, Signal::TERM).unwrap();
    assert_eq!(helper.says("code"), "7");
    all_end(&family);
}
