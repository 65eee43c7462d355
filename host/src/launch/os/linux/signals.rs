//! Taking signals in turn, on the only thread of the guardian.
#![allow(unsafe_code)]

use std::io;
use std::ptr;

use libc::c_int;
use rustix::process::Signal;

/// A set of signals that this thread takes by asking instead of by handler.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks `signals` in the calling thread, so that each waits for [`Signals::next`].
    pub(crate) fn block(signals: &[Signal]) -> io::Result<Self> {
        // SAFETY: the set is local and initialised by `sigemptyset` before its other uses.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in signals {
                libc::sigaddset(&mut set, signal.as_raw());
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) {
                0 => Ok(Self(set)),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// Waits for one of them.
    pub(crate) fn next(&self) -> c_int {
        loop {
            // SAFETY: the set is initialised, and no information is asked for.
            let signal = unsafe { libc::sigwaitinfo(&self.0, ptr::null_mut()) };
            if signal > 0 {
                return signal;
            }
        }
    }
}
