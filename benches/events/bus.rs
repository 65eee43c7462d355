//! The bus: a host without plugins, as a process of its own.

use std::path::{Path, PathBuf};

use plugmesh::event::frame::HTTP2_FRAME;
use plugmesh_benches::BoxError;
use plugmesh_benches::allocator::Allocator;
use plugmesh_benches::cell::Missing;
use plugmesh_benches::process::{Cpus, Process};
use plugmesh_host::Host;
use plugmesh_host::config::{Config, Context};
use plugmesh_sdk::events::Events;
use serde::{Deserialize, Serialize};
use tonic::transport::Endpoint;

use crate::cells::Place;
use crate::role::Role;

/// Where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Listen {
    Unix,
    Tcp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    folder: PathBuf,
    listen: Listen,
    /// What an acknowledged event of the durable topics survives, if any is durable: `batch` or `os`.
    fsync: Option<String>,
}

/// Topics that are durable, if any are.
pub(crate) const DURABLE: &str = "durable.events";

/// Starts it, and says where it is.
pub(crate) fn start(
    folder: &Path,
    listen: Listen,
    fsync: Option<&str>,
    cpus: Cpus,
) -> Result<(Process, Place), Missing> {
    let spec = Spec { folder: folder.to_owned(), listen, fsync: fsync.map(str::to_owned) };
    let mut process = Process::role(&Role::Bus(spec), cpus, Allocator::Mimalloc)?;
    let address = process.line()?;
    Ok((process, Place::Bus(address)))
}

/// Carries events until it is killed. Prints its address.
pub(crate) async fn run(spec: Spec) -> Result<(), BoxError> {
    let socket = spec.folder.join("bus.sock");
    let tcp = match spec.listen {
        Listen::Unix => "",
        Listen::Tcp => "\n  tcp:\n    listen: 127.0.0.1:0\n    insecure: true",
    };
    let journal = spec.fsync.map_or_else(String::new, |fsync| {
        format!("events:\n  journal:\n    path: events.db\n    max_size: 16GiB\n    topics:\n      - {{pattern: durable.>, fsync: {fsync}}}\n")
    });
    let text = format!("log:\n  level: warn\ngateway:\n  unix: {}{tcp}\n{journal}", socket.display());
    let config = Config::parse(text.as_bytes(), &spec.folder.join("plugmesh.yaml"), &Context::process())?;
    let host = Host::builder().config(config).open().await?;
    let scheme = match spec.listen {
        Listen::Unix => "unix:",
        Listen::Tcp => "http:",
    };
    let address = host.addresses().iter().find(|address| address.starts_with(scheme)).ok_or("no address")?;
    println!("{address}");
    std::future::pending().await
}

/// A stream to it.
pub(crate) async fn connect(address: &str) -> Result<Events, BoxError> {
    let channel = Endpoint::from_shared(address.to_owned())?.max_frame_size(HTTP2_FRAME).connect().await?;
    Ok(Events::connect(channel, "a benchmark").await?)
}
