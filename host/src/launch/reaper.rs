//! The one place where children end: a thread that sees each end by pidfd and cleans up behind it.
//!
//! A thread and not a task, so that it works while a runtime shuts down, and so that dropping a
//! [`Process`](super::Process) anywhere leaves nothing behind.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process_group, pidfd_send_signal,
    waitid, waitpgid,
};
use tokio::sync::watch;

use super::exit::{Cause, Exit};
use super::oom::{OomCounts, OutOfMemory};
use super::os::{proc, watchdog::Watchdog};

/// Rounds of searching for processes that carry a cookie. Each kills all it finds; a process that forks
/// faster than it is found survives at most this long.
const MAX_SWEEPS: usize = 16;

/// How long one round waits for what it killed to be gone.
const SWEEP_PATIENCE: Duration = Duration::from_millis(200);

/// How long the end of the launcher waits for killed processes. The kernel ends them at once but for those
/// stuck in a device.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// How often a host that adopts orphans collects those that ended.
const ADOPTION_PERIOD: Duration = Duration::from_secs(1);

/// Events taken from the kernel at once: this many ends share one search.
const EVENTS: usize = 64;

/// Key of the wake-up descriptor among the children's keys, which count from 1.
const WAKE: u64 = 0;

/// A child that has not been reaped, or a note that it has.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) pid: Pid,
    pidfd: OwnedFd,
    /// `PLUGMESH_INSTANCE_ID=…`, which descendants carry.
    cookie: Vec<u8>,
    /// Held while the group is signalled or the leader reaped: after reaping, the number may be another's.
    group: Mutex<Group>,
    exit: watch::Sender<Option<Exit>>,
    /// Counts out-of-memory kills where it runs, as far as that is known.
    oom_count: OnceLock<PathBuf>,
    /// Whether it was killed from here.
    killed: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Ours,
    Released,
}

/// Kills its process when dropped.
#[derive(Debug)]
pub(crate) struct KillOnDrop {
    pub(crate) leader: Arc<Leader>,
    reaper: Arc<Reaper>,
}

/// What the thread and its users share.
#[derive(Debug)]
pub(crate) struct Reaper {
    epoll: OwnedFd,
    wake: OwnedFd,
    watchdog: Watchdog,
    adopts_orphans: bool,
    oom_counts: OomCounts,
    /// Held from the birth of a child until it is known here, so that it is not taken for an orphan.
    births: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_key: u64,
    leaders: HashMap<u64, Arc<Leader>>,
    /// To be killed with all below them. At most as many as there are handles dropped or stopped.
    doomed: Vec<Arc<Leader>>,
    ending: bool,
}

impl Leader {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd, cookie: Vec<u8>) -> Self {
        Self {
            pid,
            pidfd,
            cookie,
            group: Mutex::new(Group::Ours),
            exit: watch::Sender::new(None),
            oom_count: OnceLock::new(),
            killed: AtomicBool::new(false),
        }
    }

    pub(crate) fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    /// Signals the leader alone. Nothing happens when it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Runs `action` while the number of the group is surely this one's.
    pub(crate) fn with_group<T>(&self, action: impl FnOnce(Pid) -> T) -> Option<T> {
        let group = lock(&self.group);
        (*group == Group::Ours).then(|| action(self.pid))
    }

    fn kill_group(&self) {
        self.killed.store(true, Ordering::Relaxed);
        self.with_group(|group| {
            let _ = kill_process_group(group, Signal::KILL);
        });
    }

    /// How it ended, when it has, leaving it as a zombie that holds its number.
    fn ended(&self) -> Option<Cause> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(status) => status.as_ref().map(cause),
            Err(rustix::io::Errno::INTR) => None,
            // Somebody else collected it, and with it the number of the group.
            Err(_) => {
                *lock(&self.group) = Group::Released;
                Some(Cause::Unknown)
            }
        }
    }

    /// Frees the number. The members of the group that this process adopted are collected with the leader.
    fn reap(&self) {
        let mut group = lock(&self.group);
        if *group == Group::Released {
            return;
        }
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        while let Ok(Some(_)) = waitpgid(self.pid, WaitOptions::NOHANG) {}
        *group = Group::Released;
    }
}

impl KillOnDrop {
    /// Kills the process with its group and all below it, now.
    pub(crate) fn kill(&self) {
        self.reaper.doom(Arc::clone(&self.leader));
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.leader.exit.borrow().is_none() {
            self.kill();
        }
    }
}

impl Reaper {
    pub(crate) fn new(watchdog: Watchdog, adopts_orphans: bool) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let state = Mutex::new(State { next_key: WAKE + 1, ..State::default() });
        Ok(Self {
            epoll,
            wake,
            watchdog,
            adopts_orphans,
            oom_counts: OomCounts::new("/"),
            births: Mutex::new(()),
            state,
        })
    }

    /// To be held while a child is started and handed to [`take`](Self::take).
    pub(crate) fn birth(&self) -> MutexGuard<'_, ()> {
        lock(&self.births)
    }

    /// Watches over a child from here on.
    pub(crate) fn take(self: &Arc<Self>, leader: Leader) -> KillOnDrop {
        if let Some(file) = self.oom_counts.of(leader.pid) {
            let _ = leader.oom_count.set(file);
        }
        let leader = Arc::new(leader);
        if let Err(error) = self.watchdog.add(leader.pid) {
            tracing::warn!(%error, "the watchdog is not told of a group, so that only its leader dies with the host");
        }
        let key = {
            let mut state = lock(&self.state);
            let key = state.next_key;
            state.next_key += 1;
            state.leaders.insert(key, Arc::clone(&leader));
            key
        };
        let data = epoll::EventData::new_u64(key);
        if let Err(error) = epoll::add(&self.epoll, &leader.pidfd, data, epoll::EventFlags::IN) {
            tracing::error!(%error, "a process cannot be watched and is killed");
            leader.kill_group();
        }
        KillOnDrop { leader, reaper: Arc::clone(self) }
    }

    fn doom(&self, leader: Arc<Leader>) {
        lock(&self.state).doomed.push(leader);
        self.wake();
    }

    /// Makes [`run`](Self::run) kill all that is left and return.
    pub(crate) fn end(&self) {
        lock(&self.state).ending = true;
        self.wake();
    }

    fn wake(&self) {
        // Full means that a wake-up is pending already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// The thread.
    pub(crate) fn run(&self) {
        let mut end_by = None;
        loop {
            let keys = self.next_events(end_by.is_some());
            let (doomed, ending) = {
                let mut state = lock(&self.state);
                let mut doomed = std::mem::take(&mut state.doomed);
                if state.ending && end_by.is_none() {
                    doomed.extend(state.leaders.values().cloned());
                }
                (doomed, state.ending)
            };
            kill_all(&doomed);
            self.clean_up_after(&keys);
            if self.adopts_orphans {
                self.collect_orphans();
            }
            if ending {
                let by = *end_by.get_or_insert_with(|| Instant::now() + END_PATIENCE);
                if lock(&self.state).leaders.is_empty() || Instant::now() >= by {
                    return;
                }
            }
        }
    }

    /// Keys of children that may have ended.
    fn next_events(&self, ending: bool) -> Vec<u64> {
        let mut buffer = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let wait = match (ending, self.adopts_orphans) {
            (true, _) => Some(SWEEP_PATIENCE),
            (false, true) => Some(ADOPTION_PERIOD),
            (false, false) => None,
        };
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut buffer, wait.as_ref()) else { return Vec::new() };
        let keys: Vec<_> = events.iter().map(|event| event.data.u64()).collect();
        if keys.contains(&WAKE) {
            let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
        }
        keys
    }

    /// Nothing that belonged to a child may outlive it, and its number is freed last.
    fn clean_up_after(&self, keys: &[u64]) {
        let leaders: Vec<_> = {
            let state = lock(&self.state);
            keys.iter().filter_map(|key| Some((*key, Arc::clone(state.leaders.get(key)?)))).collect()
        };
        let ended = |(key, leader): (u64, Arc<Leader>)| leader.ended().map(|cause| (key, leader, cause));
        let ended: Vec<_> = leaders.into_iter().filter_map(ended).collect();
        if ended.is_empty() {
            return;
        }
        let at = SystemTime::now();
        // While they are zombies, and before they count as killed from here.
        let out_of_memory: Vec<_> =
            ended.iter().map(|(_, leader, cause)| self.out_of_memory(leader, *cause)).collect();
        self.oom_counts.settle();
        for (_, leader, _) in &ended {
            leader.kill_group();
        }
        let cookies: Vec<_> = ended.iter().map(|(_, leader, _)| leader.cookie.clone()).collect();
        if !sweep(&cookies) {
            tracing::warn!("processes that a plugin left behind could not all be killed");
        }
        for ((key, leader, cause), out_of_memory) in ended.into_iter().zip(out_of_memory) {
            let _ = epoll::delete(&self.epoll, &leader.pidfd);
            match self.watchdog.remove(leader.pid) {
                Ok(()) => leader.reap(),
                // Unreaped it keeps its number, which the watchdog may still kill.
                Err(error) => {
                    tracing::warn!(%error, "the watchdog is stuck: an ended process stays a zombie")
                }
            }
            lock(&self.state).leaders.remove(&key);
            leader.exit.send_replace(Some(Exit { cause, at, out_of_memory }));
        }
    }

    /// What says that the kernel killed a process for want of memory, if anything does.
    fn out_of_memory(&self, leader: &Leader, cause: Cause) -> Option<OutOfMemory> {
        let killed = matches!(cause, Cause::Signal { number: libc::SIGKILL, .. });
        if !killed || leader.killed.load(Ordering::Relaxed) {
            return None;
        }
        self.oom_counts.rose(leader.pid, leader.oom_count.get().map(PathBuf::as_path))
    }

    /// Collects children that this process did not start: orphans that a subreaper is given.
    fn collect_orphans(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if !matches!(waitid(WaitId::All, options), Ok(Some(_))) {
            return;
        }
        let _no_births = lock(&self.births);
        let orphans = proc::children(rustix::process::getpid());
        let state = lock(&self.state);
        let is_known =
            |pid| pid == self.watchdog.pid() || state.leaders.values().any(|known| known.pid == pid);
        for orphan in orphans.iter().filter(|orphan| !is_known(orphan.pid)) {
            let _ =
                waitid(WaitId::PidFd(orphan.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// Kills `leaders`, their groups and, by the tree as it is now, all below them.
fn kill_all(leaders: &[Arc<Leader>]) {
    let roots: Vec<_> = leaders.iter().filter_map(|leader| leader.with_group(|pid| pid)).collect();
    if roots.is_empty() {
        return;
    }
    let below = proc::descendants(&roots);
    for leader in leaders {
        leader.kill_group();
        leader.signal(Signal::KILL);
    }
    for process in below {
        process.kill();
    }
}

/// Kills what carries one of `cookies` until nothing does; answers whether that is so.
fn sweep(cookies: &[Vec<u8>]) -> bool {
    (0..MAX_SWEEPS).any(|_| {
        let found = proc::carrying(cookies);
        found.iter().for_each(proc::Held::kill);
        found.is_empty() || {
            proc::await_end(&found, SWEEP_PATIENCE);
            // Where this process is a subreaper they are its children now.
            for process in &found {
                let _ = waitid(
                    WaitId::PidFd(process.pidfd.as_fd()),
                    WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
                );
            }
            false
        }
    })
}

fn cause(status: &WaitIdStatus) -> Cause {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Cause::Code(code),
        (None, Some(number)) => Cause::Signal { number, core: status.dumped() },
        (None, None) => Cause::Unknown,
    }
}

/// State behind these locks is whole after each statement, so a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
