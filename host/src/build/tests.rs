use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::config::{BuildCommand, CommandLine, Program};
use crate::launch::LauncherOptions;

/// A build that appends a line to `log` and copies `in` to `out`.
fn copy(folder: &Path) -> BuildConfig {
    std::fs::write(folder.join("in"), "1").unwrap();
    let mut config = config(folder, "echo ran >>log; echo one; echo two >&2; cp in out");
    config.outputs.push(folder.join("log"));
    config
}

fn config(folder: &Path, line: &str) -> BuildConfig {
    BuildConfig {
        dir: folder.into(),
        command: BuildCommand::Shell(line.into()),
        sources: Vec::new(),
        outputs: vec![folder.join("out")],
        timeout: Duration::from_secs(60),
    }
}

/// Sets a file's time apart from every other's: two writes may fall into one tick of the file system's clock.
fn touch(file: &Path, seconds: u64) {
    let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

fn launcher() -> Launcher {
    Launcher::start(LauncherOptions::default()).unwrap()
}

/// Takes lines, and shows them to the test.
fn lines() -> (Arc<Mutex<Vec<String>>>, impl Fn(&str) + Send + Sync + 'static) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    (lines.clone(), move |line: &str| lines.lock().unwrap().push(line.to_owned()))
}

async fn built(config: &BuildConfig) -> Outcome {
    build(config, &launcher(), |_| {}).await.unwrap()
}

#[tokio::test]
async fn it_runs_once_for_each_state_of_the_sources() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut config = copy(folder);
    let (lines, take) = lines();
    let outcome = build(&config, &launcher(), take).await.unwrap();
    let mut lines = std::mem::take(&mut *lines.lock().unwrap());
    lines.sort();
    assert_eq!((outcome, lines), (Outcome::Built, vec!["one".into(), "two".into()]));
    assert_eq!(built(&config).await, Outcome::Fresh);

    touch(&folder.join("in"), 1);
    assert!(is_stale(&config).await.unwrap(), "a source changed, if only backwards in time");
    assert_eq!(built(&config).await, Outcome::Built);
    std::fs::remove_file(folder.join("out")).unwrap();
    assert_eq!(built(&config).await, Outcome::Built, "the output is gone");
    std::fs::write(folder.join("more"), "").unwrap();
    assert_eq!(built(&config).await, Outcome::Built, "a source came");
    std::fs::remove_file(folder.join("more")).unwrap();
    assert_eq!(built(&config).await, Outcome::Built, "a source went");
    std::fs::create_dir(folder.join("target")).unwrap();
    std::fs::write(folder.join("target/x"), "").unwrap();
    touch(&folder.join("out"), 2);
    assert_eq!(built(&config).await, Outcome::Fresh, "neither is a source");
    config.command = BuildCommand::Shell("true".into());
    assert_eq!(built(&config).await, Outcome::Built, "the command changed");
    assert_eq!(std::fs::read_to_string(folder.join("log")).unwrap().lines().count(), 5);
}

#[tokio::test]
async fn only_named_sources_count() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("plugin/src/deep")).unwrap();
    std::fs::create_dir(folder.join("sdk")).unwrap();
    for file in ["plugin/in", "plugin/other", "plugin/src/deep/a.rs", "plugin/src/deep/a.txt", "sdk/lib.rs"] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    let mut config = copy(&folder.join("plugin"));
    config.sources = ["src/**/*.rs", "in", "../sdk", "none/*.c"].map(|glob| glob.parse().unwrap()).into();
    assert_eq!(built(&config).await, Outcome::Built);
    touch(&folder.join("plugin/other"), 1);
    touch(&folder.join("plugin/src/deep/a.txt"), 1);
    assert_eq!(built(&config).await, Outcome::Fresh);
    for file in ["plugin/src/deep/a.rs", "plugin/in", "sdk/lib.rs"] {
        touch(&folder.join(file), 1);
        assert_eq!(built(&config).await, Outcome::Built, "{file}");
    }
}

#[tokio::test]
async fn a_failure_shows_the_last_lines_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let line = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; printf 'no newline' >&2; touch out; exit 3";
    let config = config(folder.path(), line);
    for _ in 0..2 {
        let error = build(&config, &launcher(), |_| {}).await.unwrap_err();
        let BuildError::Failed { cause, command, output } = &error else { panic!("{error}") };
        assert_eq!((*cause, command.as_str(), output.len()), (Cause::Code(3), line, KEPT_LINES));
        assert!(
            output.contains(&"line 99".to_owned()) && output.contains(&"no newline".to_owned()),
            "{output:?}"
        );
        assert!(error.to_string().starts_with("the build exited with status 3: i=0;"), "{error}");
    }
}

#[tokio::test]
async fn a_success_without_the_output_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "true");
    assert!(matches!(build(&config, &launcher(), |_| {}).await, Err(BuildError::NoOutput { .. })));
    assert!(is_stale(&config).await.unwrap());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "");
    let program = Program::OnPath("no-such-program".into());
    config.command = BuildCommand::Exec(CommandLine { program, args: vec!["x".into()] });
    let error = build(&config, &launcher(), |_| {}).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the build cannot start: no-such-program x: no-such-program is in no directory of PATH; install it or name its path"
    );
}

#[tokio::test]
async fn a_line_without_end_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "head -c 300000 /dev/zero | tr '\\0' x; touch out");
    let (lines, take) = lines();
    build(&config, &launcher(), take).await.unwrap();
    let lines = lines.lock().unwrap();
    assert!(lines.iter().all(|line| line.len() <= crate::launch::MAX_LINE_BYTES), "parts are bounded");
    assert_eq!(lines.iter().map(String::len).sum::<usize>(), 300_000, "and nothing of it is lost");
}

/// Runs until the build has started a grandchild, whose pid it prints; then `end` ends it.
async fn started(config: &BuildConfig) -> (rustix::process::Pid, Option<BuildError>) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let mut seen = None;
    let launcher = launcher();
    let running = build(config, &launcher, move |line: &str| {
        sender.try_send(line.parse::<i32>().unwrap()).unwrap();
    });
    tokio::pin!(running);
    let error = loop {
        tokio::select! {
            ended = &mut running => break ended.err(),
            pid = receiver.recv() => {
                seen = pid;
                if config.timeout > Duration::from_secs(5) {
                    break None;
                }
            }
        }
    };
    (rustix::process::Pid::from_raw(seen.unwrap()).unwrap(), error)
}

/// Waits until a process that is no child of this one is gone.
async fn gone(pid: rustix::process::Pid) {
    let wait = async {
        let state = format!("/proc/{}/stat", pid.as_raw_nonzero());
        // Nobody may be there to reap it: a zombie is as dead.
        while std::fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn dropping_it_kills_the_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let (pid, _) = started(&config(folder.path(), "sleep 1000 & echo $!; wait")).await;
    gone(pid).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_that_takes_too_long_is_killed_with_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "sleep 1000 & echo $!; wait");
    config.timeout = Duration::from_secs(1);
    let (pid, error) = started(&config).await;
    assert!(matches!(error, Some(BuildError::TimedOut { .. })), "{error:?}");
    gone(pid).await;
}

#[tokio::test]
async fn what_it_leaves_behind_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sleep 1000 & echo $!; touch out");
    let (lines, take) = lines();
    let outcome = build(&config, &launcher(), take).await.unwrap();
    assert_eq!(outcome, Outcome::Built);
    let pid = lines.lock().unwrap().first().unwrap().parse().unwrap();
    gone(rustix::process::Pid::from_raw(pid).unwrap()).await;
}

#[tokio::test]
async fn two_hosts_do_not_build_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = copy(folder.path());
    let launcher = launcher();
    let (one, two) = tokio::join!(build(&config, &launcher, |_| {}), build(&config, &launcher, |_| {}));
    let outcomes = [one.unwrap(), two.unwrap()];
    assert!(outcomes.contains(&Outcome::Built) && outcomes.contains(&Outcome::Fresh), "{outcomes:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap(), "ran\n");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_lock_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = lock(&path, Duration::ZERO, &|_: &str| {}).await.unwrap();
    let (said, take) = lines();
    let refused = lock(&path, Duration::from_secs(9), &take).await;
    assert!(matches!(refused, Err(BuildError::Locked { .. })));
    assert_eq!(said.lock().unwrap().len(), 1);
    drop(held);
    assert!(lock(&path, Duration::ZERO, &|_: &str| {}).await.is_ok());
}
