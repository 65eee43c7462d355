//! A plugin that does what no plugin should, one thing at a time: `hostile MODE`.
//!
//! - `wire`: modes below gRPC, in bytes on the socket.
//! - `relay`: frames among those of a server that is well.
//! - `server`: HTTP/2 by hand, so that every frame of an answer can be wrong.
//! - `contract`: handshake, phases, drain. `health` and `reflection`: the standard services.
//! - `service`: `hostile.v1.HostileService`, whose methods are the faults that a call can meet.
//!
//! Every mode that a module does not know leaves it honest there, so that `hostile honest` is a good plugin.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a fault of this program must be loud: it fails the test that runs it"
)]

use std::path::PathBuf;

use tokio::net::{UnixListener, UnixStream};

#[path = "hostile/contract.rs"]
mod contract;
#[path = "hostile/health.rs"]
mod health;
#[path = "hostile/reflection.rs"]
mod reflection;
#[path = "hostile/relay.rs"]
mod relay;
#[path = "hostile/server.rs"]
mod server;
#[path = "hostile/service.rs"]
mod service;
#[path = "hostile/wire.rs"]
mod wire;

/// What to do wrong. It lives as long as the process.
type Mode = &'static str;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mode: Mode = std::env::args().nth(1).expect("usage: hostile MODE").leak();
    let socket = std::env::var(plugmesh::env::LISTEN).expect("a host sets where to listen");
    let socket = PathBuf::from(socket.strip_prefix("unix://").expect("on a Unix socket"));
    let listener = UnixListener::bind(&socket).expect("the host gave a free path");
    if mode == "deletes-socket" {
        std::fs::remove_file(&socket).unwrap();
    }
    ignore_sigterm(mode);
    // The lifeline: without a host there is nobody to annoy.
    std::thread::spawn(|| {
        if let Some(lifeline) = std::env::var(plugmesh::env::LIFELINE_FD).ok().and_then(|fd| fd.parse().ok())
        {
            wait_for_end(lifeline);
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    });
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(connection(stream, mode));
    }
}

async fn connection(stream: UnixStream, mode: Mode) {
    if let Some(stream) = wire::talk(stream, mode).await {
        server::serve(relay::relayed(stream), mode).await;
    }
}

/// Sent by whoever wants it to end, and by nobody else.
fn ignore_sigterm(mode: Mode) {
    if mode == "ignores-sigterm" {
        let mut signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::spawn(async move { while signals.recv().await.is_some() {} });
    }
}

fn wait_for_end(lifeline: i32) {
    use std::io::Read;
    let mut pipe = std::fs::File::open(format!("/proc/self/fd/{lifeline}")).unwrap();
    let _ = pipe.read(&mut [0]);
}
