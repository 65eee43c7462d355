//! A nats-server of a test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, tied};
use crate::tools;
use crate::wait::DEADLINE;

/// Debian has it in a place that is on the path of root alone.
const NAMES: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];

/// Between two looks whether it listens.
const PAUSE: Duration = Duration::from_millis(10);

/// A running nats-server with JetStream, and what it stores, which outlives the process. Dropping it ends it.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    args: Vec<String>,
    port: u16,
    // Dropped before the directory.
    process: Process,
    store: TempDir,
}

impl NatsServer {
    /// Starts one on a port of its own, with more arguments. `None`: there is none on this machine, which is said; the test is to return.
    pub fn start(args: &[&str]) -> Option<Self> {
        let program = tools::find_any("NATS_SERVER", &NAMES)?;
        let store = tempfile::tempdir().expect("a writable directory");
        // Free when it was looked at.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let process = run(&program, port, store.path(), &args);
        Some(Self { program, args, port, process, store })
    }

    /// The part of a `plugmesh.yaml` that has it keep these topics, with more lines of `events.nats`.
    pub fn config(&self, topics: &str, more: &str) -> String {
        format!("events:\n  nats: {{servers: [\"{}\"], topics: {topics}{more}}}\n", self.url())
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Sends it a signal: it stops to answer, and goes on.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it as a crash does, and starts it again with what it had stored.
    pub async fn kill_and_restart(self) -> Self {
        let Self { program, args, port, process, store } = self;
        process.end(Signal::KILL).await;
        let process = run(&program, port, store.path(), &args);
        Self { program, args, port, process, store }
    }
}

fn run(program: &Path, port: u16, store: &Path, args: &[String]) -> Process {
    let mut command = tied(program);
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(store).args(args);
    let process = Process::start(&mut command);
    let began = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(began.elapsed() < DEADLINE, "nats-server does not listen: {}", process.err());
        std::thread::sleep(PAUSE);
    }
    process
}
