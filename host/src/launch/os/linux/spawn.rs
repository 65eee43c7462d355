//! Starting a program: one `clone` that shares memory until `exec`, so that it costs the same from a host
//! of ten megabytes and of ten gigabytes.
//!
//! The standard library's fast path (`posix_spawn`) can neither set a parent-death signal nor hand out the
//! pidfd, and its slow path copies the page tables of the host for every plugin.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_char, c_int, c_void};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// The descriptor that a child finds its lifeline at: the first after the standard three.
pub(crate) const LIFELINE_FD: RawFd = 3;

/// Bytes of stack for the few calls between `clone` and `exec`. They need about one kilobyte.
const STACK_BYTES: usize = 64 * 1024;

/// Highest signal number whose disposition is put back to the default.
const LAST_SIGNAL: c_int = 64;

/// Stack that children use until they execute. One at a time: `clone` returns only after that.
pub(crate) struct Stack(Box<[u128]>);

/// What to start.
pub(crate) struct Plan<'a> {
    /// Path of the file to execute.
    pub(crate) program: &'a CStr,
    /// Arguments, the program's name first.
    pub(crate) arguments: &'a [CString],
    /// `NAME=value` each.
    pub(crate) environment: &'a [CString],
    /// Directory to start in; the host's own when absent.
    pub(crate) work_dir: Option<&'a CStr>,
    /// Standard input, output and error; the host's own when absent.
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Becomes descriptor [`LIFELINE_FD`].
    pub(crate) lifeline: BorrowedFd<'a>,
    /// Whether the kernel kills the child when the *thread* that spawned it ends.
    pub(crate) dies_with_thread: bool,
}

/// A started child.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// Which step failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Before anything of the program mattered: no process, no descriptors.
    Clone(io::Error),
    /// Entering the working directory.
    WorkDir(io::Error),
    /// Executing the file.
    Exec(io::Error),
}

/// What the child reads and writes between `clone` and `exec`, in memory shared with its parent.
struct Shared {
    parent: libc::pid_t,
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    work_dir: *const c_char,
    stdio: [RawFd; 3],
    lifeline: RawFd,
    dies_with_thread: bool,
    in_work_dir: bool,
    errno: c_int,
}

impl Stack {
    pub(crate) fn new() -> Self {
        Self(vec![0; STACK_BYTES / size_of::<u128>()].into_boxed_slice())
    }
}

/// Starts `plan` in a process group of its own, every descriptor but the standard three and the lifeline
/// closed, signals as at login. Returns once the program runs or could not be executed.
pub(crate) fn spawn(plan: &Plan<'_>, stack: &mut Stack) -> Result<Child, Failed> {
    let arguments = pointers(plan.arguments);
    let environment = pointers(plan.environment);
    let lifeline = above_fixed(plan.lifeline).map_err(Failed::Clone)?;
    let mut copies = Vec::new();
    let mut stdio = [-1; 3];
    if let Some(given) = plan.stdio {
        for (slot, fd) in stdio.iter_mut().zip(given) {
            let fd = above_fixed(fd).map_err(Failed::Clone)?;
            *slot = fd.as_raw_fd();
            copies.push(fd);
        }
    }
    let mut shared = Shared {
        parent: rustix::process::getpid().as_raw_nonzero().get(),
        program: plan.program.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        work_dir: plan.work_dir.map_or(ptr::null(), CStr::as_ptr),
        stdio,
        lifeline: lifeline.as_raw_fd(),
        dies_with_thread: plan.dies_with_thread,
        in_work_dir: false,
        errno: 0,
    };
    let child = clone_vfork(&mut shared, stack).map_err(Failed::Clone)?;
    if shared.errno == 0 {
        return Ok(child);
    }
    // It never became a program: collect it here, so that nobody else hears of it.
    let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
    let error = io::Error::from_raw_os_error(shared.errno);
    Err(if shared.in_work_dir { Failed::Exec(error) } else { Failed::WorkDir(error) })
}

/// A close-on-exec copy with a number that the child's fixed numbers cannot overwrite.
fn above_fixed(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, LIFELINE_FD + 1)?)
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

fn clone_vfork(shared: &mut Shared, stack: &mut Stack) -> io::Result<Child> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone` runs `child` on `stack`, which is exclusively borrowed, aligned to 16 and far larger
    // than what `child` needs. Memory is shared with this thread, which CLONE_VFORK suspends until the child
    // has executed or ended, so `shared`, what it points to, and `errno` have one user at a time. All signals
    // are blocked meanwhile: no handler of the host can run in the child. `pidfd` outlives the call.
    let (pid, error) = unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let top = stack.0.as_mut_ptr_range().end.cast::<c_void>();
        let pid = libc::clone(child, top, flags, ptr::from_mut(shared).cast(), &raw mut pidfd);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
        (pid, error)
    };
    match Pid::from_raw(pid.max(0)) {
        // SAFETY: the kernel stored a new descriptor of ours, as CLONE_PIDFD says.
        Some(pid) => Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
        None => Err(error),
    }
}

/// Runs in the child, in the host's memory: system calls only, no allocation, no panic.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the `Shared` that `clone_vfork` passes, used by nobody else until this ends.
    // Every call below is async-signal-safe, and pointers in `shared` are live and NUL-terminated.
    unsafe {
        let shared = &mut *argument.cast::<Shared>();
        if shared.dies_with_thread {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // A host that died before the line above sends no signal any more.
            if libc::getppid() != shared.parent {
                libc::_exit(127);
            }
        }
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=LAST_SIGNAL {
            libc::sigaction(signal, &default, ptr::null_mut());
        }
        libc::setpgid(0, 0);
        for (number, fd) in (0..).zip(shared.stdio) {
            if fd >= 0 && libc::dup2(fd, number) < 0 {
                return fail(shared);
            }
        }
        // Also what some library of the embedding program forgot to mark. Old kernels lack the call; there
        // only the forgotten ones leak.
        libc::syscall(libc::SYS_close_range, LIFELINE_FD, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if libc::dup2(shared.lifeline, LIFELINE_FD) < 0 {
            return fail(shared);
        }
        if !shared.work_dir.is_null() && libc::chdir(shared.work_dir) < 0 {
            return fail(shared);
        }
        shared.in_work_dir = true;
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
        libc::execve(shared.program, shared.arguments, shared.environment);
        fail(shared)
    }
}

/// Notes why, and ends the child without running anything of the host's.
///
/// # Safety
///
/// Only in the child.
unsafe fn fail(shared: &mut Shared) -> c_int {
    // SAFETY: both are async-signal-safe; the caller is the child.
    unsafe {
        shared.errno = *libc::__errno_location();
        libc::_exit(127)
    }
}
