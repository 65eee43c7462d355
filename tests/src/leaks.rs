//! What a daemon holds, before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::daemon::Daemon;
use crate::wait::DEADLINE;

/// Processes, descriptors and sockets of a daemon at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaks {
    /// Command lines, each with how many processes have it.
    pub processes: BTreeMap<String, usize>,
    /// Kinds of descriptors of the host's process, with their numbers.
    pub descriptors: BTreeMap<String, usize>,
    /// Sockets below the runtime directory. Their names change with each incarnation; their number must not.
    pub sockets: usize,
}

impl Leaks {
    /// What there is now.
    pub async fn of(daemon: &Daemon) -> Self {
        Self::look(daemon, daemon.pid().await)
    }

    /// Waits until there is again what there was, and panics with the difference when it does not come.
    pub async fn back_to(&self, daemon: &Daemon) {
        let pid = daemon.pid().await;
        let waiting = tokio::time::timeout(DEADLINE / 4, async {
            while Self::look(daemon, pid) != *self {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        if waiting.await.is_err() {
            assert_eq!(Self::look(daemon, pid), *self, "left: now, right: before");
        }
    }

    fn look(daemon: &Daemon, pid: u32) -> Self {
        let mut processes = BTreeMap::new();
        for other in processes_mentioning(daemon.home()) {
            let line = fs::read(format!("/proc/{other}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            // Empty for a process that has just ended.
            if !line.is_empty() {
                *processes.entry(line).or_default() += 1;
            }
        }
        let mut descriptors = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy();
            let kind = target.split_once(":[").map_or(&*target, |(kind, _)| kind);
            *descriptors.entry(kind.to_owned()).or_default() += 1;
        }
        Self { processes, descriptors, sockets: sockets_below(&daemon.runtime_dir()) }
    }
}

/// Processes whose environment mentions `path`: everything that a daemon in that directory started, also
/// what left its parents and groups behind. Those that have ended but were not waited for are left out.
pub fn processes_mentioning(path: &Path) -> Vec<u32> {
    let wanted = path.as_os_str().as_bytes();
    let all = fs::read_dir("/proc").expect("Linux").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mentions = |pid: &u32| {
        // A zombie's is empty.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(wanted.len()).any(|part| part == wanted)
    };
    pids.filter(mentions).collect()
}

fn sockets_below(dir: &Path) -> usize {
    use std::os::unix::fs::FileTypeExt;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => sockets_below(&entry.path()),
            Ok(kind) => usize::from(kind.is_socket()),
            Err(_) => 0,
        })
        .sum()
}
