//! CPU time and memory of processes, as the kernel counts them.

use std::fs;
use std::time::Duration;

/// CPU time that the threads of a process have used. Read from each thread's `schedstat`, which counts
/// nanoseconds, where `stat` counts hundredths of a second. A process that is gone has used none.
pub fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Memory of this process that is resident, in KiB.
///
/// # Errors
/// `/proc` is not there or not as expected.
pub fn resident_kib() -> Result<f64, crate::BoxError> {
    resident_kib_of(std::process::id())
}

/// Memory of a process that is resident, in KiB.
///
/// # Errors
/// It is gone, or `/proc` is not there or not as expected.
pub fn resident_kib_of(pid: u32) -> Result<f64, crate::BoxError> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in its status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
