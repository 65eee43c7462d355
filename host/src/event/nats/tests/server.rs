//! A nats-server of a test.
#![allow(clippy::disallowed_methods, reason = "tests run a server, not a plugin")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where Debian puts it, and where others do.
const PROGRAMS: [&str; 3] = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"];

/// How long it may take to listen.
const START: Duration = Duration::from_secs(20);

/// A server with JetStream, and a store that outlives it.
pub(super) struct Server {
    program: &'static Path,
    store: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts one, with more lines of its configuration for JetStream. `None`: there is none on this machine, which is said.
    pub(super) fn start(jetstream: &str) -> Option<Self> {
        let Some(program) = PROGRAMS.map(Path::new).into_iter().find(|program| program.exists()) else {
            assert!(
                std::env::var_os("PLUGMESH_REQUIRE_TOOLS").is_none(),
                "nats-server is not installed: apt-get install nats-server"
            );
            eprintln!("skipped: nats-server is not installed");
            return None;
        };
        let store = tempfile::tempdir().unwrap();
        // Free when it was looked at.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = store.path().display();
        let config =
            format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{folder}\"\n{jetstream} }}\n");
        std::fs::write(store.path().join("nats.conf"), config).unwrap();
        let child = run(program, port, store.path());
        Some(Self { program, store, port, child })
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it, as a crash does.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Starts it again, with what it had stored.
    pub(super) fn restart(&mut self) {
        self.child = run(self.program, self.port, self.store.path());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &Path, port: u16, store: &Path) -> Child {
    let child = Command::new(program)
        .arg("-c")
        .arg(store.join("nats.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(began.elapsed() < START, "nats-server does not listen");
        std::thread::yield_now();
    }
    child
}
