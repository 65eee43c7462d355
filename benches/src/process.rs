//! The processes of a cell: this executable once more in another role, or a peer.

#![allow(
    clippy::disallowed_methods,
    reason = "the processes of a benchmark are not plugins: nothing but the kernel stands between"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::thread::CpuSet;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::BoxError;
use crate::allocator::{Allocator, variable};

/// How long a process may take to be ready.
const START: Duration = Duration::from_secs(10);

/// First argument of a process that is a role of this executable.
const ROLE: &str = "role";
/// First argument of a process that becomes another program.
const EXEC: &str = "exec";

/// Which CPUs a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum Cpus {
    /// All, as is.
    All,
    /// One, the same for every process of the cell: the cost of the code, without wake-ups across CPUs.
    One,
}

impl Cpus {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::One => "one",
        }
    }
}

/// A process that was started; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this executable in the role that `role` describes; [`enter`] gives it to that process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn role<R: Serialize>(role: &R, cpus: Cpus, allocator: Allocator) -> Result<Self, BoxError> {
        Self::role_with(role, cpus, allocator, Vec::new())
    }

    /// As [`Self::role`], with variables in its environment.
    ///
    /// # Errors
    /// The system refuses.
    pub fn role_with<R: Serialize>(
        role: &R,
        cpus: Cpus,
        allocator: Allocator,
        environment: Vec<(&str, PathBuf)>,
    ) -> Result<Self, BoxError> {
        let (program, args) = command(role, cpus)?;
        let (variable, value) = variable(allocator);
        let mut command = Command::new(program);
        command.args(args).env(variable, value).envs(environment);
        Self::spawn(command)
    }

    /// Starts another program. What it prints is thrown away, unless it fails.
    ///
    /// # Errors
    /// The system refuses.
    pub fn program(program: &Path, args: &[&str], cpus: Cpus) -> Result<Self, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([EXEC, cpus.as_str()]).arg(program).args(args);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self, BoxError> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no pipe")?;
        Ok(Self { child, stdout: BufReader::new(stdout) })
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// The system does not know.
    pub fn has_ended(&mut self) -> Result<bool, BoxError> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// The next line that it prints.
    ///
    /// # Errors
    /// It ended first.
    pub fn line(&mut self) -> Result<String, BoxError> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(format!("a process of the cell ended: {}", self.child.wait()?).into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// The next line that it prints, as JSON.
    ///
    /// # Errors
    /// It ended first, or printed something else.
    pub fn json<T: DeserializeOwned>(&mut self) -> Result<T, BoxError> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| format!("{error} in {line:?}").into())
    }

    /// Waits until it accepts connections on a Unix socket.
    ///
    /// # Errors
    /// It ended first, or took too long.
    pub fn listens_on(&mut self, socket: &Path) -> Result<(), BoxError> {
        let since = Instant::now();
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended before it listened: {status}").into());
            }
            if since.elapsed() > START {
                return Err(format!("nobody listens on {}", socket.display()).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that is this executable in the role that `role` describes.
///
/// # Errors
/// The system does not know where this executable is.
pub fn command<R: Serialize>(role: &R, cpus: Cpus) -> Result<(PathBuf, Vec<String>), BoxError> {
    let args = vec![ROLE.to_owned(), cpus.as_str().to_owned(), serde_json::to_string(role)?];
    Ok((std::env::current_exe()?, args))
}

/// What this process is to do, when it is not the benchmark itself. Call it before anything else in `main`.
///
/// # Errors
/// This is no role of this executable, or the system refuses.
pub fn enter<R: DeserializeOwned>() -> Result<Option<R>, BoxError> {
    let args: Vec<String> = std::env::args().collect();
    let (kind, cpus, rest) = match args.as_slice() {
        [_, kind, cpus, rest @ ..] if kind == ROLE || kind == EXEC => (kind, cpus, rest),
        _ => return Ok(None),
    };
    // A benchmark that is killed leaves nothing behind.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if cpus == Cpus::One.as_str() {
        pin()?;
    }
    match (kind.as_str(), rest) {
        (ROLE, [role]) => Ok(Some(serde_json::from_str(role)?)),
        (EXEC, [program, args @ ..]) => Err(Command::new(program).args(args).exec().into()),
        _ => Err("no such role".into()),
    }
}

/// Keeps this process, which has one thread as yet, on the last CPU that it may use.
fn pin() -> Result<(), BoxError> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).ok_or("no CPU")?;
    let mut one = CpuSet::new();
    one.set(last);
    Ok(rustix::thread::sched_setaffinity(None, &one)?)
}

/// Finds a program by name on `PATH`, and where Debian keeps servers.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
