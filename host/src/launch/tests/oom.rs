//! The kernel kills for want of memory, for real, where this user may make control groups.

use std::path::PathBuf;

use super::*;

/// The path of the group that the process `pid` makes.
pub(super) fn group_of(pid: u32) -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let memory = groups.lines().find_map(|line| line.split_once(":memory:"))?.1;
    Some(format!("/sys/fs/cgroup/memory{memory}/plugmesh-test-{pid}").into())
}

/// A control group with a bound of memory, which ends with the test.
struct Group(PathBuf);

impl Group {
    /// `None` where there is no version 1 memory controller that this user may use.
    fn new() -> Option<Self> {
        let group = group_of(std::process::id())?;
        std::fs::create_dir(&group).ok()?;
        let group = Self(group);
        std::fs::write(group.0.join("memory.limit_in_bytes"), (96 << 20).to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_process_that_takes_too_much_memory_is_said_to_have_done_so() {
    let Some(group) = Group::new() else {
        println!("skipped: no control groups to make here");
        return;
    };
    let helper = Helper::start("oom_host");
    let evidence =
        "was killed by SIGKILL, probably out of memory: the kernel has killed for that in its control group";
    assert_eq!(helper.says("greedy"), evidence);
    assert_eq!(helper.says("killed"), "was killed by SIGKILL");
    // It is in the group, which can go when it is empty.
    drop(helper);
    drop(group);
}
