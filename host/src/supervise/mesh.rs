//! What every plugin of a host shares, and the plugins themselves.
//!
//! `load`: they come and go. `in_process`: services of the program itself. `error`: why one is not running.

mod error;
mod in_process;
mod load;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use plugmesh::plugin::v1::HostInfo;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::failure::StartError;
use super::pulse::{Beat, Listening, Pulse};
use super::remote::Certificates;
use super::{Board, Callers, Plugin};
use crate::event::Events;
use crate::identity::{Authority, HostCredentials};
use crate::launch::{Arrivals, Launcher, LogBuffer, RunDirectory};
use crate::name::PluginName;
use crate::route::Router;
use crate::spiffe::TrustDomain;
use crate::transport::{Dialer, Pool, Settings};

pub use self::error::LoadError;

/// What a mesh is made of.
#[derive(Debug)]
pub struct MeshOptions {
    /// Who the host is, to its plugins.
    pub host: HostInfo,
    /// Address of the gateway, for callbacks. Empty: none.
    pub callback_address: String,
    /// Where it keeps sockets and files.
    pub run_dir: RunDirectory,
    /// What starts processes.
    pub launcher: Launcher,
    /// What notices that they listen.
    pub arrivals: Arrivals,
    /// Trust domain of the certificates it issues.
    pub trust_domain: TrustDomain,
    /// The environment that passes to plugins, before the allow-list.
    pub environment: Vec<(OsString, OsString)>,
    /// Where its tasks run.
    pub runtimes: Runtimes,
    /// Processes of all plugins that may start at once.
    pub max_starts: usize,
}

/// Where the tasks of a host run.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// Connections and calls.
    pub data: Handle,
    /// Supervision, logs and everything else that calls need not wait for.
    pub control: Handle,
}

/// What every plugin of a host shares, and the plugins themselves. Clones share it.
#[derive(Clone, Debug)]
pub struct Mesh(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: MeshOptions,
    router: Router,
    board: Board,
    callers: Callers,
    logs: Mutex<BTreeMap<PluginName, LogBuffer>>,
    issuer: OnceLock<Issuer>,
    certificates: Certificates,
    epoch: AtomicU64,
    tasks: TaskTracker,
    pulse: Pulse,
    starts: Semaphore,
    /// Descriptors that are being learned.
    learning: watch::Sender<usize>,
    plugins: Mutex<BTreeMap<PluginName, Plugin>>,
    events: OnceLock<Events>,
}

/// What certificates for this host's own plugins come from.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) authority: Authority,
    pub(super) credentials: HostCredentials,
}

/// Descriptors are being learned for as long as this is there.
#[derive(Debug)]
pub(super) struct Learning(Mesh);

impl Drop for Learning {
    fn drop(&mut self) {
        self.0.0.learning.send_modify(|count| *count -= 1);
    }
}

impl Mesh {
    /// A mesh without plugins.
    pub fn new(options: MeshOptions) -> Self {
        // Epochs rise from run to run too, so that a plugin that outlives its host knows the newer one.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let starts = Semaphore::new(options.max_starts);
        Self(Arc::new(Shared {
            options,
            starts,
            router: Router::new(),
            board: Board::default(),
            callers: Callers::default(),
            logs: Mutex::default(),
            issuer: OnceLock::new(),
            certificates: Certificates::default(),
            epoch: AtomicU64::new(now.as_millis() as u64),
            tasks: TaskTracker::new(),
            pulse: Pulse::default(),
            learning: watch::Sender::new(0),
            plugins: Mutex::default(),
            events: OnceLock::new(),
        }))
    }

    /// Where calls find their way.
    pub fn router(&self) -> &Router {
        &self.0.router
    }

    /// What every plugin is doing now.
    pub fn board(&self) -> &Board {
        &self.0.board
    }

    /// Which plugin is calling.
    pub fn callers(&self) -> &Callers {
        &self.0.callers
    }

    /// Who the host is.
    pub fn host(&self) -> &HostInfo {
        &self.0.options.host
    }

    /// From now on instances take part in events. The first word counts.
    pub(crate) fn carry(&self, events: Events) {
        let _ = self.0.events.set(events);
    }

    /// What carries events. `None`: nothing does.
    pub(super) fn events(&self) -> Option<&Events> {
        self.0.events.get()
    }

    /// The last lines of a plugin, kept from before its first start to its end.
    pub fn log(&self, plugin: &PluginName) -> LogBuffer {
        let mut logs = lock(&self.0.logs);
        logs.entry(plugin.clone()).or_insert_with(|| LogBuffer::new(plugin.clone())).clone()
    }

    /// A plugin by name.
    pub fn plugin(&self, name: &PluginName) -> Option<Plugin> {
        lock(&self.0.plugins).get(name).cloned()
    }

    /// Waits until every task of the mesh has ended, after [`Self::stop`].
    pub async fn finished(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Lets go of every plugin without stopping it in order. Whatever of it still runs ends with the last handle.
    pub(crate) fn forget_plugins(&self) {
        let plugins = std::mem::take(&mut *lock(&self.0.plugins));
        // Not under the lock: what is dropped here may be all that is left of the mesh.
        drop(plugins);
    }

    /// Waits until the descriptors of what has started are on the board, or could not be had, or `at_most` has passed.
    pub(crate) async fn described(&self, at_most: Duration) {
        let mut learning = self.0.learning.subscribe();
        // Its sender is in `self`.
        let _ = tokio::time::timeout(at_most, learning.wait_for(|count| *count == 0)).await;
    }

    pub(super) fn learning(&self) -> Learning {
        self.0.learning.send_modify(|count| *count += 1);
        Learning(self.clone())
    }

    /// Runs an operation beside the calls, to its end, even when whoever asked for it goes away. `None` when the
    /// host has stopped.
    pub async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.0.tasks.spawn_on(operation, &self.0.options.runtimes.control).await.ok()
    }

    pub(super) fn run_dir(&self) -> &RunDirectory {
        &self.0.options.run_dir
    }

    pub(super) fn launcher(&self) -> &Launcher {
        &self.0.options.launcher
    }

    pub(super) fn arrivals(&self) -> &Arrivals {
        &self.0.options.arrivals
    }

    pub(super) fn environment(&self) -> &[(OsString, OsString)] {
        &self.0.options.environment
    }

    pub(super) fn path(&self) -> OsString {
        let path = self.environment().iter().find(|(name, _)| name == "PATH");
        path.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    pub(super) fn callback_address(&self) -> &str {
        &self.0.options.callback_address
    }

    /// Made when the first plugin wants TLS: most hosts never need it.
    pub(super) fn issuer(&self) -> Result<&Issuer, StartError> {
        if let Some(issuer) = self.0.issuer.get() {
            return Ok(issuer);
        }
        let authority = Authority::generate(self.0.options.trust_domain.clone())?;
        let host = authority.issue_host(&self.host().id)?;
        let credentials = HostCredentials::new(&authority, &host)?;
        // Of two that are made at once one wins, and nobody has used the other.
        Ok(self.0.issuer.get_or_init(|| Issuer { authority, credentials }))
    }

    /// A place for each process that may start now.
    pub(super) fn starts(&self) -> &Semaphore {
        &self.0.starts
    }

    pub(super) fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    pub(super) fn next_epoch(&self) -> u64 {
        self.0.epoch.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn pool(&self, dialer: Dialer, max_connections: u32) -> Pool {
        let (runtime, tasks) = (self.0.options.runtimes.data.clone(), self.0.tasks.clone());
        Pool::new(dialer, max_connections as usize, Settings::default(), runtime, tasks)
    }

    /// As [`spawn`](Self::spawn), for a task that `set` owns.
    pub(super) fn spawn_in(&self, set: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
        set.spawn_on(self.0.tasks.track_future(task), &self.0.options.runtimes.control);
    }

    /// Lets `listener` look at each beat of the mesh's clock.
    pub(super) fn listen(&self, listener: Arc<dyn Beat>) -> Listening {
        let (listening, beating) = self.0.pulse.listen(listener);
        if let Some(beating) = beating {
            self.spawn(beating);
        }
        listening
    }

    /// Runs a task of the mesh, beside the calls.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.0.tasks.spawn_on(task, &self.0.options.runtimes.control).abort_handle()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
