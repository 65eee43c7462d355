//! The plain side: tonic's balancing channel, and a supervisor as somebody would write who has no host.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plugmesh::env;
use plugmesh_benches::BoxError;
use plugmesh_benches::allocator::Allocator;
use plugmesh_benches::process::{Cpus, Process};
use tonic::transport::{Channel, Endpoint};

use crate::control::{self, pause};
use crate::plan::INSTANCES;
use crate::plugin;
use crate::role::Role;

/// From the end of an instance to the start of the next: that of the host.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the supervisor looks.
const LOOK: Duration = Duration::from_millis(2);

/// A channel over all addresses, with tonic's defaults.
///
/// They are TCP: `balance_list` takes `unix:` endpoints too, but dials each of them by TCP as `http://tonic`
/// (tonic 0.14).
pub(crate) fn connect(addresses: &[String]) -> Result<Channel, BoxError> {
    let endpoints: Result<Vec<_>, _> = addresses.iter().cloned().map(Endpoint::from_shared).collect();
    Ok(Channel::balance_list(endpoints?.into_iter()))
}

/// Keeps the instances running, each at an address that does not change.
#[derive(Debug)]
pub(crate) struct Supervisor {
    stop: Arc<AtomicBool>,
    // Started and kept by one thread: the kernel ends a child with the thread that started it.
    thread: Option<JoinHandle<Result<(), BoxError>>>,
    pub(crate) addresses: Vec<String>,
}

struct Instance {
    ordinal: u32,
    /// As the plugin is told; the port is known once it has listened.
    address: String,
    process: Option<Process>,
    ended: Option<Instant>,
}

impl Supervisor {
    /// Starts all instances, and returns when each listens.
    pub(crate) fn start(spec: plugin::Spec) -> Result<Self, BoxError> {
        let stop = Arc::new(AtomicBool::new(false));
        let folder = spec.folder.clone();
        let thread = std::thread::Builder::new().name("supervisor".into()).spawn({
            let stop = stop.clone();
            move || supervise(&spec, &stop)
        })?;
        let mut supervisor = Self { stop, thread: Some(thread), addresses: Vec::new() };
        for ordinal in 0..INSTANCES {
            let address = control::wait("an instance listens", || {
                if supervisor.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                    return Err("the supervisor ended".into());
                }
                Ok(std::fs::read_to_string(address_file(&folder, ordinal)).ok())
            })?;
            supervisor.addresses.push(address.trim().replacen("tcp://", "http://", 1));
        }
        Ok(supervisor)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.thread.take().and_then(|thread| thread.join().ok()) {
            eprintln!("\nthe supervisor of the plain side: {error}");
        }
    }
}

fn address_file(folder: &Path, ordinal: u32) -> PathBuf {
    folder.join(format!("address-{ordinal}"))
}

fn supervise(spec: &plugin::Spec, stop: &AtomicBool) -> Result<(), BoxError> {
    let mut instances: Vec<_> = (0..INSTANCES).map(Instance::new).collect();
    while !stop.load(Ordering::Relaxed) {
        for instance in &mut instances {
            instance.look(spec)?;
        }
        pause(LOOK);
    }
    Ok(())
}

impl Instance {
    fn new(ordinal: u32) -> Self {
        // An address of its own, which no connection of a client has as its source: a client that dials a port
        // where nobody listens could otherwise get that very port, and talk to itself.
        let address = Ipv4Addr::new(127, 0, 0, 2 + ordinal as u8);
        Self { ordinal, address: format!("tcp://{address}:0"), process: None, ended: None }
    }

    fn look(&mut self, spec: &plugin::Spec) -> Result<(), BoxError> {
        if let Some(process) = &mut self.process {
            if !process.has_ended()? {
                return Ok(());
            }
            self.process = None;
            self.ended = Some(Instant::now());
            // The next one listens where this one did.
            self.address =
                std::fs::read_to_string(address_file(&spec.folder, self.ordinal))?.trim().to_owned();
        }
        if self.ended.is_none_or(|ended| ended.elapsed() >= PAUSE) {
            let variables = vec![
                (env::INSTANCE, format!("{}-{}", plugin::NAME, self.ordinal).into()),
                (env::LISTEN, self.address.clone().into()),
                (env::ADDRESS_FILE, address_file(&spec.folder, self.ordinal)),
                (plugin::QUIET.0, plugin::QUIET.1.into()),
            ];
            let role = Role::Plugin(spec.clone());
            self.process = Some(Process::role_with(&role, Cpus::All, Allocator::Mimalloc, variables)?);
        }
        Ok(())
    }
}
