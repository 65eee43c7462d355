//! Evidence that the kernel killed a process for want of memory.
//!
//! The kernel does not say why it sent SIGKILL. It counts such kills for each control group, and for the machine; a count
//! that rose, seen at the end of a process that nobody here has killed, is as good as evidence gets.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;

/// Bytes of a file of counts that are read: `/proc/vmstat` has about 5 KiB.
const MAX_COUNTS: u64 = 64 * 1024;

/// Whose count of out-of-memory kills rose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfMemory {
    /// That of the control group which the process was in.
    Group,
    /// That of the whole machine, where the one of the group cannot be read.
    Machine,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "probably out of memory: the kernel has killed for that in its control group",
            Self::Machine => "probably out of memory: the kernel has killed for that on this machine",
        })
    }
}

/// The counts as they were when somebody last looked.
#[derive(Debug)]
pub(crate) struct OomCounts {
    /// `/`, but for tests.
    root: PathBuf,
    seen: Mutex<HashMap<PathBuf, u64>>,
}

impl OomCounts {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), seen: Mutex::default() }
    }

    /// The file with the count for a process, which is noted unless it is known already.
    pub(crate) fn of(&self, pid: Pid) -> Option<PathBuf> {
        let file = self.file(pid)?;
        if let Some(count) = count(&file) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(file.clone()).or_insert(count);
        }
        Some(file)
    }

    /// Whether the count for `pid`, which has ended and is not collected yet, rose since the last
    /// [`settle`](Self::settle). `before` is the file that counted for it when it began.
    pub(crate) fn rose(&self, pid: Pid, before: Option<&Path>) -> Option<OutOfMemory> {
        // It may have been moved since.
        let now = self.file(pid);
        let moved = now.as_deref().filter(|now| Some(*now) != before && !self.is_machine(now));
        let mut files = before.into_iter().chain(moved);
        files.find(|file| self.is_higher(file)).map(|file| match self.is_machine(file) {
            true => OutOfMemory::Machine,
            false => OutOfMemory::Group,
        })
    }

    /// A count that was never seen counts from nothing: a group that a process was moved to was most likely made for it.
    fn is_higher(&self, file: &Path) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *seen.entry(file.to_owned()).or_default();
        count(file).is_some_and(|count| count > before)
    }

    /// Takes note of every count, after all that ended together were asked about: what rose by now explains no later end.
    /// Groups that are gone are forgotten.
    pub(crate) fn settle(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|file, seen| count(file).map(|count| *seen = count).is_some());
    }

    fn is_machine(&self, file: &Path) -> bool {
        file == self.root.join("proc/vmstat")
    }

    fn file(&self, pid: Pid) -> Option<PathBuf> {
        let groups = read(&self.root.join(format!("proc/{}/cgroup", pid.as_raw_nonzero())))?;
        let base = self.root.join("sys/fs/cgroup");
        let candidates = groups.lines().filter_map(|line| {
            // `0::/path` for version 2, `4:memory:/path` for version 1.
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            // Of a group that is gone.
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            match controllers {
                "" => Some(base.join(path).join("memory.events.local")),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    Some(base.join("memory").join(path).join("memory.oom_control"))
                }
                _ => None,
            }
        });
        let machine = self.root.join("proc/vmstat");
        candidates.chain([machine]).find(|file| count(file).is_some())
    }
}

/// `oom_kill N`, which all three kinds of files have.
fn count(file: &Path) -> Option<u64> {
    read(file)?.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn read(file: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(file).ok()?.take(MAX_COUNTS).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine made of files, on which process 7 runs.
    fn machine(groups: &str) -> (tempfile::TempDir, OomCounts, Pid) {
        let root = tempfile::tempdir().unwrap();
        let counts = OomCounts::new(root.path());
        write(root.path(), "proc/7/cgroup", groups);
        write(root.path(), "proc/vmstat", "nr_free_pages 1\noom_kill 40\n");
        (root, counts, Pid::from_raw(7).unwrap())
    }

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn a_count_that_rises_is_evidence_once() {
        let file = "sys/fs/cgroup/a.slice/b.scope/memory.events.local";
        let (root, counts, pid) = machine("0::/a.slice/b.scope\n");
        write(root.path(), file, "low 0\nhigh 0\nmax 9\noom 3\noom_kill 3\noom_group_kill 0\n");
        let own = counts.of(pid);
        assert_eq!(own.as_deref(), Some(root.path().join(file)).as_deref());
        assert_eq!(counts.rose(pid, own.as_deref()), None, "killed by somebody else");
        write(root.path(), "proc/vmstat", "oom_kill 41\n");
        assert_eq!(counts.rose(pid, own.as_deref()), None, "on the machine, but not in its group");
        write(root.path(), file, "oom 4\noom_kill 4\n");
        for _ in 0..2 {
            assert_eq!(counts.rose(pid, own.as_deref()), Some(OutOfMemory::Group), "all that ended together");
        }
        counts.settle();
        assert_eq!(counts.rose(pid, own.as_deref()), None, "the next one has another reason");
    }

    #[test]
    fn groups_of_version_1_count_as_well() {
        let file = "sys/fs/cgroup/memory/pod/memory.oom_control";
        let (root, counts, pid) = machine("5:devices:/x\n4:memory,hugetlb:/pod\n0::/\n");
        write(root.path(), file, "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
        let own = counts.of(pid);
        write(root.path(), file, "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        assert_eq!(counts.rose(pid, own.as_deref()), Some(OutOfMemory::Group));
    }

    #[test]
    fn the_machine_counts_where_groups_do_not() {
        let (root, counts, pid) = machine("0::/nowhere\n");
        let own = counts.of(pid);
        assert_eq!(counts.rose(pid, own.as_deref()), None);
        write(root.path(), "proc/vmstat", "oom_kill 41\n");
        assert_eq!(counts.rose(pid, own.as_deref()), Some(OutOfMemory::Machine));
        fs::remove_file(root.path().join("proc/vmstat")).unwrap();
        assert_eq!(counts.rose(pid, own.as_deref()), None, "no evidence, no word");
    }

    #[test]
    fn a_process_that_was_moved_is_looked_for_where_it_ended() {
        let (root, counts, pid) = machine("0::/first\n");
        write(root.path(), "sys/fs/cgroup/first/memory.events.local", "oom_kill 5\n");
        let own = counts.of(pid);
        write(root.path(), "proc/7/cgroup", "0::/second\n");
        write(root.path(), "sys/fs/cgroup/second/memory.events.local", "oom_kill 1\n");
        assert_eq!(counts.rose(pid, own.as_deref()), Some(OutOfMemory::Group));
        fs::remove_dir_all(root.path().join("sys/fs/cgroup/second")).unwrap();
        counts.settle();
        assert_eq!(counts.seen.lock().unwrap().len(), 1);
    }
}
