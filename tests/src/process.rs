//! Programs that a test starts.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use crate::tools;
use crate::wait::DEADLINE;

/// How long a process may take to end in good order when a test lets go of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program with its output; it is ended and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    out: Output,
    err: Output,
    reaped: Option<ExitStatus>,
}

/// What a program left.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; 128 and the number for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// What was read so far of one side, and its reader.
#[derive(Clone, Debug)]
struct Output(Arc<watch::Sender<Text>>, Arc<Mutex<Option<std::thread::JoinHandle<()>>>>);

#[derive(Debug, Default)]
struct Text {
    text: String,
    ended: bool,
}

/// A command that ends with the thread that starts it: a test run that is killed leaves no daemon behind. Where
/// util-linux is missing it may.
pub(crate) fn tied(program: &Path) -> Command {
    let Some(setpriv) = tools::locate("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

impl Process {
    /// Starts it, with nothing on standard input.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid = Pid::from_child(&child);
        let pidfd =
            pidfd_open(pid, PidfdFlags::empty()).expect("a child that was not waited for has a pidfd");
        let out = Output::of(child.stdout.take().expect("piped"));
        let err = Output::of(child.stderr.take().expect("piped"));
        Self { child, pidfd, out, err, reaped: None }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; nothing happens when the process has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// What it wrote to standard output up to now.
    pub fn out(&self) -> String {
        self.out.0.borrow().text.clone()
    }

    /// What it wrote to standard error up to now.
    pub fn err(&self) -> String {
        self.err.0.borrow().text.clone()
    }

    /// Waits until standard output contains `text`; false when it ended without.
    pub async fn wrote(&self, text: &str) -> bool {
        self.wrote_within(text, DEADLINE).await
    }

    /// As [`wrote`](Self::wrote), with another bound.
    pub async fn wrote_within(&self, text: &str, time: Duration) -> bool {
        self.out.contains(text, "standard output", time).await
    }

    /// Waits until standard error contains `text`; false when it ended without.
    pub async fn wrote_error(&self, text: &str) -> bool {
        self.err.contains(text, "standard error", DEADLINE).await
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> Ran {
        let pidfd = self.pidfd.try_clone().expect("a descriptor");
        let ended = tokio::task::spawn_blocking(move || ends_within(&pidfd, DEADLINE)).await;
        assert!(ended.is_ok_and(|ended| ended), "process {} does not end: {self:?}", self.pid());
        let status = self.reap();
        self.out.finish();
        self.err.finish();
        Ran { code: code(status), out: self.out(), err: self.err() }
    }

    /// Sends a signal and waits for the end.
    pub async fn end(self, signal: Signal) -> Ran {
        self.signal(signal);
        self.ended().await
    }

    fn reap(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("a child");
        self.reaped = Some(status);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.reaped.is_some() {
            return;
        }
        // A host ends in good order after the first and at once after the second.
        self.signal(Signal::TERM);
        self.signal(Signal::INT);
        if !ends_within(&self.pidfd, PATIENCE) {
            self.signal(Signal::KILL);
        }
        self.reap();
        if std::thread::panicking() {
            eprintln!("--- standard error of process {}\n{}---", self.pid(), self.err());
        }
    }
}

impl Ran {
    /// Runs it to its end.
    pub async fn of(command: &mut Command) -> Self {
        Process::start(command).ended().await
    }

    /// It ended well, and gives what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }

    /// It ended with this code, and gives what it wrote to standard error.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:#?}");
        self.err
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

impl Output {
    fn of(mut from: impl std::io::Read + Send + 'static) -> Self {
        let all = Arc::new(watch::Sender::new(Text::default()));
        let into = Arc::clone(&all);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 8192];
            // The beginning of a character that a read has cut.
            let mut cut = Vec::new();
            while let Ok(count @ 1..) = from.read(&mut piece) {
                cut.extend_from_slice(&piece[..count]);
                let whole = match std::str::from_utf8(&cut) {
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    Ok(_) | Err(_) => cut.len(),
                };
                let rest = cut.split_off(whole);
                into.send_modify(|all| all.text.push_str(&String::from_utf8_lossy(&cut)));
                cut = rest;
            }
            into.send_modify(|all| all.ended = true);
        });
        Self(all, Arc::new(Mutex::new(Some(reader))))
    }

    async fn contains(&self, text: &str, what: &str, time: Duration) -> bool {
        let mut all = self.0.subscribe();
        let found = tokio::time::timeout(time, all.wait_for(|all| all.ended || all.text.contains(text)));
        let Ok(found) = found.await.map(|found| found.is_ok_and(|all| all.text.contains(text))) else {
            panic!("waited {time:?} in vain for {text:?} on {what}: {}", self.0.borrow().text);
        };
        found
    }

    /// Waits for the end of the output of a process that has ended.
    fn finish(&self) {
        if let Some(reader) = self.1.lock().expect("no panic within").take() {
            let _ = reader.join();
        }
    }
}

fn ends_within(pidfd: &OwnedFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).expect("a short time");
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&time)).is_ok_and(|ready| ready > 0)
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
