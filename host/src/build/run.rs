//! The build's process.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{BuildError, KEPT_LINES};
use crate::config::{BuildCommand, BuildConfig, Program};

/// Longest line passed on; the rest of it is dropped.
const MAX_LINE: usize = 4096;

/// How long output is still read after the command ended: a daemon that it left behind may keep the pipes.
const AFTER_EXIT: Duration = Duration::from_millis(500);

/// Runs the command to its end.
pub(super) async fn run(config: &BuildConfig, progress: &mut impl FnMut(&str)) -> Result<(), BuildError> {
    let command = config.command.to_string();
    let mut child = match spawn(config) {
        Ok(child) => child,
        Err(source) => return Err(BuildError::Start { command, source }),
    };
    let mut kept = VecDeque::new();
    let mut take = |line: &str| {
        progress(line);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line.to_owned());
    };
    let ended = timeout(config.timeout, child.finish(&mut take)).await;
    // Ends the group when time is up.
    drop(child);
    let output = kept.into();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(BuildError::Failed { status, command, output }),
        Ok(Err(source)) => Err(BuildError::Io { path: config.dir.clone(), source }),
        Err(_) => Err(BuildError::TimedOut { after: config.timeout, command, output }),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a build is no plugin: it gets the user's environment, and ends before anything is launched"
)]
fn spawn(config: &BuildConfig) -> std::io::Result<Group> {
    let mut command = match &config.command {
        BuildCommand::Shell(line) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]);
            shell
        }
        BuildCommand::Exec(line) => {
            let mut program = match &line.program {
                Program::File(path) => Command::new(path),
                Program::OnPath(name) => Command::new(name),
            };
            program.args(&line.args);
            program
        }
    };
    command.current_dir(&config.dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().map(|child| Group { child })
}

/// A process and its group, which ends with it when this is dropped before the process has ended.
struct Group {
    child: Child,
}

impl Group {
    /// Hands on output until the process has ended and its pipes are empty.
    async fn finish(&mut self, take: &mut impl FnMut(&str)) -> std::io::Result<ExitStatus> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (mut out, mut err) = (Lines::new(stdout), Lines::new(stderr));
        let mut status = None;
        while !(out.ended() && err.ended()) {
            tokio::select! {
                ended = self.child.wait(), if status.is_none() => status = Some(ended?),
                read = out.read(), if !out.ended() => {
                    read?;
                    out.hand_on(take);
                }
                read = err.read(), if !err.ended() => {
                    read?;
                    err.hand_on(take);
                }
                () = tokio::time::sleep(AFTER_EXIT), if status.is_some() => break,
            }
        }
        out.last(take);
        err.last(take);
        match status {
            Some(status) => Ok(status),
            None => self.child.wait().await,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // As long as the process is not waited for, its id, and so its group's, cannot be another's.
        #[cfg(unix)]
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // It may be gone already, which is as good.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// One stream of output, in lines.
struct Lines<R> {
    stream: Option<R>,
    buffer: Vec<u8>,
    chunk: Vec<u8>,
    /// The line is longer than what is kept of it.
    cut: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(stream: Option<R>) -> Self {
        Self { stream, buffer: Vec::new(), chunk: Vec::with_capacity(MAX_LINE), cut: false }
    }

    fn ended(&self) -> bool {
        self.stream.is_none()
    }

    /// Reads some; cancelling loses nothing.
    async fn read(&mut self) -> std::io::Result<()> {
        self.chunk.clear();
        if let Some(stream) = &mut self.stream
            && stream.read_buf(&mut self.chunk).await? == 0
        {
            self.stream = None;
        }
        Ok(())
    }

    fn hand_on(&mut self, take: &mut impl FnMut(&str)) {
        let chunk = std::mem::take(&mut self.chunk);
        for byte in &chunk {
            match byte {
                b'\n' => self.line(take),
                _ if self.buffer.len() < MAX_LINE => self.buffer.push(*byte),
                _ => self.cut = true,
            }
        }
        self.chunk = chunk;
    }

    /// What came after the last line break.
    fn last(&mut self, take: &mut impl FnMut(&str)) {
        if !self.buffer.is_empty() {
            self.line(take);
        }
    }

    fn line(&mut self, take: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.buffer);
        let text = text.trim_end_matches('\r');
        if self.cut {
            take(&format!("{text}…"))
        } else {
            take(text)
        }
        self.buffer.clear();
        self.cut = false;
    }
}
