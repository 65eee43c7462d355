//! Processes that are killed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::BoxError;

/// How long a process may take to be gone that was killed, and one that ends because another was.
const END: Duration = Duration::from_secs(30);

/// How to start what takes part in a round: programs with the arguments that come first.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `plugmesh serve`, which must end with the process that starts it.
    pub host: Vec<String>,
    /// What calls [`role::run`](crate::role::run).
    pub participant: Vec<String>,
}

/// A program with its first arguments as a command, with nothing of this process's environment but where programs are.
pub(crate) fn command(words: &[String]) -> Result<Command, BoxError> {
    let (program, args) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    Ok(command)
}

/// A child, killed and waited for when it is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts it. What it prints goes to the end of a file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self, BoxError> {
        let out = File::options().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        Ok(Self(command.spawn()?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, BoxError> {
        Ok(self.0.try_wait()?)
    }

    /// Kills it, and gives how it ended: it may have done so before.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus, BoxError> {
        self.0.kill()?;
        Ok(self.0.wait()?)
    }

    /// Waits for its end, which is near.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, BoxError> {
        let since = Instant::now();
        while since.elapsed() < END {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Err(format!("process {} does not end", self.pid()).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is fine too.
        let _ = self.kill();
    }
}

/// A process that is no child of this one.
#[derive(Debug)]
pub(crate) struct Stranger {
    pid: u32,
    pidfd: OwnedFd,
}

impl Stranger {
    /// The only child of a process, if it has one.
    pub(crate) fn child_of(pid: u32) -> Result<Option<Self>, BoxError> {
        let children = match std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
            Ok(children) => children,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(child) = children.split_whitespace().next() else { return Ok(None) };
        let child: u32 = child.parse()?;
        let pid = Pid::from_raw(child.try_into()?).ok_or("no process has the id 0")?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Self { pid: child, pidfd })),
            // It has just ended.
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn kill(&self) {
        // One that has ended already is fine too.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    /// Waits for its end, which is near.
    pub(crate) fn wait(&self) -> Result<(), BoxError> {
        match self.ends_within(END) {
            true => Ok(()),
            false => Err(format!("process {} does not end", self.pid).into()),
        }
    }

    fn ends_within(&self, time: Duration) -> bool {
        let time = Timespec::try_from(time).ok();
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], time.as_ref()).is_ok_and(|ready| ready > 0)
    }
}
