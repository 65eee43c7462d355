//! Finding processes through `/proc`, and holding on to them by pidfd before believing anything.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// Bytes of an environment that are searched: what the kernel allows for one string, many times over.
const MAX_ENVIRONMENT: u64 = 1 << 20;

/// Bytes of `/proc/PID/stat` up to the parent's id: a name of 64 and four numbers.
const MAX_STAT: u64 = 512;

/// A process that cannot be mistaken for another any more.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

impl Held {
    fn open(pid: Pid) -> Option<Self> {
        Some(Self { pid, pidfd: pidfd_open(pid, PidfdFlags::empty()).ok()? })
    }

    /// Kills it; harmless when it is gone.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    fn is_running(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
    }
}

/// Waits until each of `processes` has ended, or `within` has passed. Answers whether all have.
pub(crate) fn await_end(processes: &[Held], within: Duration) -> bool {
    let deadline = Instant::now() + within;
    processes.iter().all(|process| {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&process.pidfd, PollFlags::IN)];
        matches!(poll(&mut fds, Timespec::try_from(left).ok().as_ref()), Ok(1))
    })
}

/// Everything that runs below `roots`, whose ids the caller keeps from being reused, and not the roots.
pub(crate) fn descendants(roots: &[Pid]) -> Vec<Held> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for pid in all() {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found: Vec<Held> = Vec::new();
    for root in roots {
        let mut below = found.len();
        collect(children.remove(root).unwrap_or_default(), *root, None, &mut found);
        while let Some(parent) = found.get(below).map(|held| held.pid) {
            collect(children.remove(&parent).unwrap_or_default(), parent, Some(below), &mut found);
            below += 1;
        }
    }
    found
}

/// Takes those of `pids` that are still children of `parent`, now that they are held.
fn collect(pids: Vec<Pid>, parent: Pid, held_parent: Option<usize>, found: &mut Vec<Held>) {
    for pid in pids {
        let Some(held) = Held::open(pid) else { continue };
        // The parent's id means the same process only while that one still runs.
        let parent_stands = held_parent.and_then(|at| found.get(at)).is_none_or(Held::is_running);
        if parent_of(pid) == Some(parent) && parent_stands {
            found.push(held);
        }
    }
}

/// Every process of this user whose environment has one of `entries`, each `NAME=value`.
///
/// A process that overwrote its own environment is not found.
pub(crate) fn carrying(entries: &[Vec<u8>]) -> Vec<Held> {
    let (own_pid, own_uid) = (getpid(), rustix::process::geteuid().as_raw());
    let is_own = |pid: &Pid| fs::metadata(path(*pid, "")).is_ok_and(|meta| meta.uid() == own_uid);
    all()
        .filter(|pid| *pid != own_pid)
        .filter(is_own)
        .filter(|pid| carries(*pid, entries))
        .filter_map(Held::open)
        // Looked at again now that it is held: the id may have gone to another in between.
        .filter(|held| carries(held.pid, entries) && held.is_running())
        .collect()
}

/// Children of `parent`, those that ended and await collection included.
pub(crate) fn children(parent: Pid) -> Vec<Held> {
    all().filter(|pid| parent_of(*pid) == Some(parent)).filter_map(Held::open).collect()
}

/// Whether a process stands still, by a signal or a debugger.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    let Ok(stat) = read(pid, "stat", MAX_STAT) else { return false };
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2));
    matches!(state, Some(b'T' | b't'))
}

fn carries(pid: Pid, entries: &[Vec<u8>]) -> bool {
    let Ok(environment) = read(pid, "environ", MAX_ENVIRONMENT) else { return false };
    environment.split(|byte| *byte == 0).any(|entry| entries.iter().any(|wanted| wanted == entry))
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = read(pid, "stat", MAX_STAT).ok()?;
    // The name, in parentheses, may itself hold parentheses and spaces: count from its last one.
    let after_name = stat.get(stat.iter().rposition(|byte| *byte == b')')? + 1..)?;
    let parent = std::str::from_utf8(after_name).ok()?.split_ascii_whitespace().nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
}

fn all() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

fn path(pid: Pid, file: &str) -> String {
    format!("/proc/{}/{file}", pid.as_raw_nonzero())
}

fn read(pid: Pid, file: &str, at_most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path(pid, file))?.take(at_most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
