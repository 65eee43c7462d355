//! Programs that tests run as processes of their own.

use std::io::Write;
use std::os::unix::net::UnixListener;

use rustix::process::{Pid, Signal, getpid, kill_process};

use super::*;

/// Whether this run is meant to be `helper`.
fn is_wanted(helper: &str) -> bool {
    std::env::var_os(HELPER).is_some_and(|wanted| wanted == helper)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").unwrap();
    out.flush().unwrap();
}

/// Passes a plugin's lines on, for the test to read.
struct Saying;

impl LogSink for Saying {
    fn line(&self, line: LogLine) {
        say(&line.text);
    }
}

/// A wrapping shell, with a child in its group and one that left it; each says its id.
const FAMILY: &str = "
    sh -c 'echo grandchild $$; exec sleep 1000' &
    setsid sh -c 'echo escaped $$; exec sleep 1000' &
    echo plugin $$
    wait";

fn family() -> ProcessSpec {
    shell(FAMILY).0.log(Arc::new(Saying))
}

#[test]
#[ignore = "a helper of other tests"]
fn linked_host() {
    if is_wanted("linked_host") {
        let launcher = launcher();
        runtime().block_on(async {
            let _process = launcher.spawn(family()).await.unwrap();
            std::future::pending::<()>().await;
        });
    }
}

/// The guardian, or with its marker set the daemon.
#[test]
#[ignore = "a helper of other tests"]
fn guarded() {
    if !is_wanted("guarded") {
        return;
    }
    let Some(marker) = std::env::var_os(guardian::MARKER) else {
        say(&format!("guardian {}", getpid().as_raw_nonzero()));
        let program = std::env::current_exe().unwrap();
        let code = guardian::run(&program, helper_arguments("guarded"), std::env::vars_os()).unwrap();
        say(&format!("code {code}"));
        return;
    };
    runtime().block_on(async {
        let ward = guardian::Ward::take(Some(&marker)).unwrap().unwrap();
        let launcher = Launcher::start(LauncherOptions::default().adopts_orphans(true)).unwrap();
        say(&format!("daemon {}", getpid().as_raw_nonzero()));
        let _process = launcher.spawn(family()).await.unwrap();
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::select! {
            _ = term.recv() => end(7),
            () = ward.gone() => {
                guardian::end_all_descendants(PATIENCE);
                end(0);
            }
        }
    });
}

#[allow(clippy::disallowed_methods, reason = "to end at once, as the test harness would not")]
fn end(code: i32) -> ! {
    std::process::exit(code)
}

/// Starts many processes and counts what stays.
#[test]
#[ignore = "a helper of other tests"]
fn counting() {
    if !is_wanted("counting") {
        return;
    }
    let count = |what: &str| std::fs::read_dir(what).unwrap().count();
    let children = || os::proc::children(getpid()).len();
    let runtime = runtime();
    let launcher = launcher();
    let round = |times: usize| {
        runtime.block_on(async {
            for at in 0..times {
                let (spec, _lines) = shell(if at % 2 == 0 { "exit 3" } else { "sleep 1000 & sleep 1000" });
                let process = launcher.spawn(spec).await.unwrap();
                if at % 2 == 0 {
                    assert_eq!(process.wait().await.cause, Cause::Code(3));
                } else {
                    assert!(!process.stop(Duration::ZERO).await.is_success());
                }
                let missing = ProcessSpec::new("/no/such/program", InstanceId::random());
                assert!(launcher.spawn(missing).await.is_err());
            }
        });
    };
    // The first ones open what stays open, such as the runtime's.
    round(2);
    let all = || (count("/proc/self/fd"), children(), count("/proc/self/task"));
    let before = all();
    round(200);
    // The reaper lets go of its last descriptor just after it has told of the end.
    let settled = std::iter::repeat_with(all).take(10_000).any(|now| now <= before);
    drop(launcher);
    say(&format!("counts {settled} {} {}", before.1, children()));
    assert!(settled, "{before:?} grew to {:?}", all());
}

/// A subreaper, given an orphan by a plugin that lives on.
#[test]
#[ignore = "a helper of other tests"]
fn adopting() {
    if !is_wanted("adopting") {
        return;
    }
    rustix::process::set_child_subreaper(Some(getpid())).unwrap();
    let launcher = Launcher::start(LauncherOptions::default().adopts_orphans(true)).unwrap();
    runtime().block_on(async {
        // The subshell ends at once, and leaves its child to the host.
        let (spec, mut lines) = shell("(sh -c 'echo $$; read x < \"$0\"' \"$0\" &); exec sleep 1000");
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let mut arguments = spec.arguments.clone();
        arguments.push(fifo.clone().into());
        let process = launcher.spawn(spec.arguments(arguments)).await.unwrap();
        let orphan = named(&mut lines).await;
        std::fs::write(&fifo, "go\n").unwrap();
        assert!(orphan.ends_within(PATIENCE));
        let collected = async {
            while !orphan.is_collected() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let collected = tokio::time::timeout(PATIENCE, collected).await.is_ok();
        say(&format!("collected {collected} {}", process.exit().is_none()));
        process.kill();
        assert_eq!(process.wait().await.to_string(), "was killed by SIGKILL");
    });
}

/// A plugin that listens where it is told, and stays until its host is gone.
#[test]
#[ignore = "a helper of other tests"]
fn listener() {
    if !is_wanted("listener") {
        return;
    }
    let held: Box<dyn std::any::Any> = if let Some(path) = std::env::var_os("SOCKET") {
        Box::new(UnixListener::bind(path).unwrap())
    } else {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::env::var("PLUGMESH_ADDRESS_FILE").unwrap();
        std::fs::write(format!("{file}.new"), format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
        std::fs::rename(format!("{file}.new"), file).unwrap();
        Box::new(listener)
    };
    let lifeline =
        os::descriptors::adopt_pipe(std::env::var("PLUGMESH_LIFELINE_FD").unwrap().parse().unwrap());
    let _ = rustix::io::read(lifeline.unwrap(), &mut [0_u8; 1]);
    drop(held);
}

/// Moves itself into a group, and runs a process there that takes more than the group may have, then one that is killed
/// by somebody.
#[test]
#[ignore = "a helper of other tests"]
fn oom_host() {
    if is_wanted("oom_host") {
        let group = oom::group_of(std::os::unix::process::parent_id()).unwrap();
        std::fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let launcher = launcher();
        runtime().block_on(async {
            let greedy = "x=x; while :; do x=$x$x; done";
            let process = launcher.spawn(shell(greedy).0).await.unwrap();
            say(&format!("greedy {}", process.wait().await));
            let (spec, mut lines) = shell("echo ready; sleep 1000");
            let process = launcher.spawn(spec).await.unwrap();
            line(&mut lines).await;
            let pid = Pid::from_raw(process.pid().cast_signed()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
            say(&format!("killed {}", process.wait().await));
        });
    }
}
