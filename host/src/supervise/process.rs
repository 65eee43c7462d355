//! An instance that is a child process.

use plugmesh::env;

use super::Mesh;
use super::failure::{StartError, StartFailure};
use super::timeline::Timeline;
use crate::config::{PluginConfig, ProcessConfig, Program, Transport};
use crate::identity::{Current, plugin_server_name};
use crate::launch::{Awaited, Connected, Environment, InstanceDirectory, Process, ProcessSpec};
use crate::name::{InstanceId, InstanceName};
use crate::transport::{Address, Dialer, Opened, Tls};

/// A process that listens.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) process: Process,
    pub(super) dialer: Dialer,
    /// The first connection to it.
    pub(super) opened: Opened,
    /// Its sockets and files, which go with it.
    pub(super) files: InstanceDirectory,
}

/// Starts a process and waits until it listens.
pub(super) async fn launch(
    mesh: &Mesh,
    config: &PluginConfig,
    source: &ProcessConfig,
    name: &InstanceName,
    id: &InstanceId,
    timeline: &Timeline,
) -> Result<Launched, StartFailure> {
    let files = mesh.run_dir().instance(name, id)?;
    let config_file = files.write("config.json", config.config.to_json().as_bytes())?;
    let mut environment = Environment::inherit(mesh.environment().iter().cloned())
        .manifest(source.env.iter().map(|(name, value)| (name, value.expose())))
        .set(env::PLUGIN, config.name.as_str())
        .set(env::INSTANCE, name.as_str())
        .set(env::HOST, mesh.callback_address())
        .set(env::CONFIG_FILE, config_file);
    let (awaited, tls) = match source.transport {
        Transport::Unix => {
            environment = environment.set(env::LISTEN, Address::unix(files.socket()).to_string());
            (Awaited::Socket(files.socket().to_owned()), None)
        }
        Transport::Tcp => {
            let issuer = mesh.issuer()?;
            let leaf = issuer.authority.issue_plugin(name, id)?;
            let written = leaf.write_files(&issuer.authority, files.path())?;
            environment = environment
                .set(env::LISTEN, "tcp://127.0.0.1:0")
                .set(env::ADDRESS_FILE, files.address_file())
                .set(env::TLS_CERT_FILE, written.cert)
                .set(env::TLS_KEY_FILE, written.key)
                .set(env::TLS_CLIENT_CA_FILE, written.ca);
            let config = issuer.credentials.client_config_for_plugin(leaf.spiffe_id().clone());
            let config = Current::fixed(config.map_err(StartError::from)?);
            let tls = Tls { config, server_name: plugin_server_name() };
            (Awaited::AddressFile(files.address_file().to_owned()), Some(tls))
        }
    };
    let program = match &source.command.program {
        Program::File(path) => path.clone(),
        Program::OnPath(name) => name.into(),
    };
    let spec = ProcessSpec::new(program, id.clone())
        .arguments(&source.command.args)
        .environment(environment)
        .work_dir(&source.dir)
        .log(mesh.log(&config.name).sink(name.clone()));
    let arrival = mesh.arrivals().arm(awaited)?;
    let process = mesh.launcher().spawn(spec).await?;
    timeline.done("spawned");
    // The error of a wait shows the last lines itself.
    let connected = arrival.wait(&process, config.start_timeout).await?;
    timeline.done("listening");
    let (address, opened) = match connected {
        Connected::Unix(stream) => (Address::unix(files.socket()), stream.into_std().map(Opened::Unix)),
        Connected::Tcp(stream, at) => (Address::Tls(at.into()), stream.into_std().map(Opened::Tcp)),
    };
    let dialer = match tls {
        Some(tls) => Dialer::tls(address, tls),
        None => Dialer::plain(address),
    };
    Ok(Launched { process, dialer, opened: opened?, files })
}
