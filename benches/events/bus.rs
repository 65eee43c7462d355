//! The bus: a host without plugins, as a process of its own.

use std::path::{Path, PathBuf};

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
}

/// Starts it, and says where it is.
pub(crate) fn start(folder: &Path, listen: Listen, cpus: Cpus) -> Result<(Process, Place), Missing> {
    let spec = Spec { folder: folder.to_owned(), listen };
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
    let text = format!("log:\n  level: warn\ngateway:\n  unix: {}{tcp}\n", socket.display());
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
    let channel = Endpoint::from_shared(address.to_owned())?.connect().await?;
    Ok(Events::connect(channel, "a benchmark").await?)
}
