//! How a process ended.

use std::fmt;
use std::time::SystemTime;

use super::oom::OutOfMemory;

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub cause: Cause,
    /// When the host saw it.
    pub at: SystemTime,
    /// What says that the kernel killed it for want of memory, if anything does.
    pub out_of_memory: Option<OutOfMemory>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It exited by itself with this status; 0 is success.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Number of the signal.
        number: i32,
        /// Whether the kernel wrote a core file.
        core: bool,
    },
    /// It ended, but other code in this program collected the status first, or ignores `SIGCHLD`.
    Unknown,
}

impl Exit {
    /// Whether it exited with status 0.
    pub fn is_success(&self) -> bool {
        self.cause == Cause::Code(0)
    }
}

impl Cause {
    /// What a shell would report: the status, or 128 and the signal.
    pub fn shell_code(&self) -> u8 {
        match *self {
            Self::Code(code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
            Self::Signal { number, .. } => u8::try_from(128 + number).unwrap_or(u8::MAX),
            Self::Unknown => u8::MAX,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match self.out_of_memory {
            Some(evidence) => write!(f, ", {evidence}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal { number, core } => {
                match signal_name(number) {
                    Some(name) => write!(f, "was killed by {name}")?,
                    None => write!(f, "was killed by signal {number}")?,
                }
                f.write_str(if core { " (core dumped)" } else { "" })
            }
            Self::Unknown => f.write_str("ended, its status taken by other code in this program"),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    const NAMES: [(i32, &str); 18] = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGXFSZ, "SIGXFSZ"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_said_in_words() {
        assert_eq!(Cause::Code(3).to_string(), "exited with status 3");
        assert_eq!(Cause::Signal { number: 9, core: false }.to_string(), "was killed by SIGKILL");
        assert_eq!(
            Cause::Signal { number: 11, core: true }.to_string(),
            "was killed by SIGSEGV (core dumped)"
        );
        assert_eq!(Cause::Signal { number: 40, core: false }.to_string(), "was killed by signal 40");
    }

    #[test]
    fn shells_add_128_to_a_signal() {
        assert_eq!(Cause::Signal { number: 15, core: false }.shell_code(), 143);
        assert_eq!(Cause::Code(3).shell_code(), 3);
    }
}
