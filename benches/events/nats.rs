//! nats-server, and its client.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::Client;
use plugmesh_benches::BoxError;
use plugmesh_benches::cell::Missing;
use plugmesh_benches::process::{Cpus, Process};

use crate::cells::Place;

/// Where Debian puts it, and where others do.
const PROGRAMS: [&str; 3] = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"];

/// How long it may take to listen.
const START: Duration = Duration::from_secs(5);

/// Starts it, and says where it is.
pub(crate) fn start(cpus: Cpus) -> Result<(Process, Place), Missing> {
    start_with(&[], cpus)
}

/// Starts it with JetStream, which keeps its streams in a folder.
pub(crate) fn start_jetstream(folder: &Path, cpus: Cpus) -> Result<(Process, Place), Missing> {
    start_with(&["-js", "-sd", folder.to_str().ok_or("a path that is no text")?], cpus)
}

fn start_with(args: &[&str], cpus: Cpus) -> Result<(Process, Place), Missing> {
    let program = PROGRAMS.map(Path::new).into_iter().find(|program| program.exists());
    let program = program.ok_or_else(|| Missing::Skipped("nats-server is not installed".to_owned()))?;
    // Free when it was looked at.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let port_text = port.to_string();
    let args: Vec<_> = ["-a", "127.0.0.1", "-p", &port_text].iter().chain(args).copied().collect();
    let process = Process::program(program, &args, cpus)?;
    let began = Instant::now();
    while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if began.elapsed() > START {
            return Err("nats-server does not listen".into());
        }
        std::thread::yield_now();
    }
    Ok((process, Place::Nats(format!("nats://127.0.0.1:{port}"))))
}

/// A connection to it.
pub(crate) async fn connect(address: &str) -> Result<Client, BoxError> {
    // More than a cell publishes, so that the client drops none: nothing in NATS has a publisher wait for a subscriber.
    Ok(async_nats::ConnectOptions::new().subscription_capacity(1 << 24).connect(address).await?)
}
