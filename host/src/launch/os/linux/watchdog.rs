//! A tiny process that outlives the host by a moment: it holds the read end of a pipe and the list of
//! process groups, and kills the groups when the pipe ends, however the host went.
//!
//! A parent-death signal reaches the direct child only; this reaches what the child started.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, c_void};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::forget::forget_memory;

/// Groups that one watchdog can hold: more plugins than one machine runs. Beyond it the parent-death signal
/// alone protects.
const MAX_GROUPS: usize = 8192;

/// A command is two native integers: what to do, and to which group.
const ADD: i32 = 1;
const REMOVE: i32 = 2;
const COMMAND_BYTES: usize = 8;

/// The host's end. Dropping it makes the watchdog kill what it still holds and end.
#[derive(Debug)]
pub(crate) struct Watchdog {
    commands: Option<OwnedFd>,
    pid: Pid,
}

impl Watchdog {
    /// Forks it. Call it early: the fork shares the host's pages as they are now.
    pub(crate) fn start() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        // SAFETY: the child calls `watch`, which makes async-signal-safe calls only and never returns.
        let pid = unsafe {
            match libc::fork() {
                0 => watch(read.as_raw_fd()),
                pid => pid,
            }
        };
        match Pid::from_raw(pid.max(0)) {
            Some(pid) => Ok(Self { commands: Some(write), pid }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// Process id, for telling it from plugins.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Kill `group` when the host is gone.
    pub(crate) fn add(&self, group: Pid) -> io::Result<()> {
        self.send(ADD, group)
    }

    /// Forget `group`. Only after this may its leader be reaped, which frees the number: a command that
    /// was sent is read before the end of the pipe is.
    pub(crate) fn remove(&self, group: Pid) -> io::Result<()> {
        self.send(REMOVE, group)
    }

    fn send(&self, what: i32, group: Pid) -> io::Result<()> {
        let Some(commands) = &self.commands else { return Ok(()) };
        let mut command = [0; COMMAND_BYTES];
        let (left, right) = command.split_at_mut(COMMAND_BYTES / 2);
        left.copy_from_slice(&what.to_ne_bytes());
        right.copy_from_slice(&group.as_raw_nonzero().get().to_ne_bytes());
        // Shorter than PIPE_BUF: all or nothing, also from several threads.
        rustix::io::write(commands, &command)?;
        Ok(())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.commands = None;
        // It ends at once on the end of its pipe; this only collects it.
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// The watchdog's whole life.
///
/// # Safety
///
/// Only in a forked child: it closes every descriptor but `commands`.
unsafe fn watch(commands: c_int) -> ! {
    // SAFETY: this is the only thread of the child. No call allocates, locks or panics: other threads of the
    // host may have held any lock when it forked. The buffers passed are local and of the length given.
    unsafe {
        libc::setsid();
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, ptr::null_mut());
        libc::prctl(libc::PR_SET_NAME, c"plugmesh-watch".as_ptr());
        libc::chdir(c"/".as_ptr());
        libc::dup2(commands, 0);
        // Also standard output and error: a reader of the host's output must see its end.
        libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0);
        forget_memory();
        let mut groups = [0; MAX_GROUPS];
        loop {
            let mut command = [0_i32; 2];
            let read = libc::read(0, command.as_mut_ptr().cast::<c_void>(), COMMAND_BYTES);
            match read {
                8 => apply(command, &mut groups),
                -1 if *libc::__errno_location() == libc::EINTR => {}
                _ => break,
            }
        }
        for group in groups {
            if group > 1 {
                libc::kill(-group, libc::SIGKILL);
            }
        }
        libc::_exit(0)
    }
}

fn apply([what, group]: [i32; 2], groups: &mut [i32; MAX_GROUPS]) {
    let (from, to) = match what {
        ADD => (0, group),
        _ => (group, 0),
    };
    for slot in groups {
        if *slot == from {
            *slot = to;
            return;
        }
    }
}
