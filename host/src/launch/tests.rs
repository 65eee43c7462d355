//! Real processes. Some tests need a process of their own: they run this test binary again, with one of the
//! ignored tests of [`helpers`] as its main function.

mod death;
mod helpers;
mod oom;
mod run;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::mpsc;

use super::*;
use crate::name::InstanceId;

/// Long enough for a busy machine; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names the helper to run, and keeps `--ignored` runs from running it.
const HELPER: &str = "LAUNCH_TEST_HELPER";

fn launcher() -> Launcher {
    Launcher::start(LauncherOptions::default()).unwrap()
}

fn path() -> (OsString, OsString) {
    ("PATH".into(), std::env::var_os("PATH").unwrap())
}

/// A shell that runs `script`, with lines to the receiver.
fn shell(script: &str) -> (ProcessSpec, mpsc::Receiver<LogLine>) {
    let (sink, lines) = mpsc::channel(1000);
    let spec = ProcessSpec::new("/bin/sh", InstanceId::random()).arguments(["-c", script]);
    (spec.environment([path()]).log(Arc::new(ToChannel(sink))), lines)
}

struct ToChannel(mpsc::Sender<LogLine>);

impl LogSink for ToChannel {
    fn line(&self, line: LogLine) {
        let _ = self.0.try_send(line);
    }
}

async fn line(lines: &mut mpsc::Receiver<LogLine>) -> LogLine {
    tokio::time::timeout(PATIENCE, lines.recv()).await.expect("no line came").expect("the output ended")
}

/// The process that a line names, held so that its end can be awaited.
async fn named(lines: &mut mpsc::Receiver<LogLine>) -> Held {
    Held::new(&line(lines).await.text)
}

struct Held {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Held {
    fn new(pid: &str) -> Self {
        let pid = Pid::from_raw(pid.trim().parse().expect("a process id")).unwrap();
        Self { pid, pidfd: pidfd_open(pid, PidfdFlags::empty()).expect("it should still run") }
    }

    fn ends_within(&self, within: Duration) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::try_from(within).unwrap())).unwrap() == 1
    }

    /// Whether its end has been collected too, so that no zombie is left.
    fn is_collected(&self) -> bool {
        !Path::new(&format!("/proc/{}", self.pid.as_raw_nonzero())).exists()
    }
}

/// This test binary as another program.
struct Helper {
    child: Child,
    said: blocking::Receiver<String>,
}

/// Arguments that make this test binary run `helper` alone, on its main thread.
fn helper_arguments(helper: &str) -> Vec<OsString> {
    let name = format!("launch::tests::helpers::{helper}");
    let fixed = ["--exact", "--ignored", "--nocapture", "--test-threads=1"];
    [name.into()].into_iter().chain(fixed.map(OsString::from)).collect()
}

impl Helper {
    #[allow(clippy::disallowed_methods, reason = "a test's own child, not a plugin")]
    fn start(helper: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(helper_arguments(helper))
            .env(HELPER, helper)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, said) = blocking::channel();
        // Ends with the helper's output, or with its reader.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, said }
    }

    /// What follows `key` on the next line that has it.
    fn says(&self, key: &str) -> String {
        let key = format!("{key} ");
        loop {
            if let Some((_, rest)) = self.line().split_once(&key) {
                return rest.to_owned();
            }
        }
    }

    fn line(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("the helper should say something")
    }

    /// The plugin, its child and the one that left the group, in the order they speak.
    fn names_family(&self) -> Vec<(String, Held)> {
        let mut family = Vec::new();
        while family.len() < 3 {
            let line = self.line();
            // The test harness writes its own words on the same line.
            let mut words = line.rsplit(' ');
            let (pid, who) = (words.next().unwrap(), words.next().unwrap_or_default());
            if ["plugin", "grandchild", "escaped"].contains(&who) {
                family.push((who.to_owned(), Held::new(pid)));
            }
        }
        family
    }

    fn names(&self, key: &str) -> Held {
        Held::new(&self.says(key))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
