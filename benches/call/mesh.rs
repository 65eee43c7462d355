//! The mesh side: a host as a program links it, with everything on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plugmesh_benches::BoxError;
use plugmesh_benches::allocator;
use plugmesh_benches::echo::EchoRequest;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::echo::echo_service_server::EchoServiceServer;
use plugmesh_benches::process::{self, Cpus};
use plugmesh_host::Host;
use plugmesh_host::config::{
    ClientTls, CommandLine, Config, Endpoint, InstanceCount, PluginConfig, PluginOptions, PolicySaid,
    ProcessConfig, Program, RemoteConfig, Secret, ServerCheck, Source, Transport,
};
use plugmesh_host::route::Channel;
use rustix::process::{Pid, Signal};

use crate::place::{self, Place};
use crate::role::Role;
use crate::server::{self, Echo, Plugin};

/// How long a plugin that was killed may be gone. It takes milliseconds; this bounds a failure.
const RETURN: Duration = Duration::from_secs(20);

/// A host with at most one plugin, the echo.
#[derive(Debug)]
pub(crate) struct Mesh {
    host: Host,
}

impl Mesh {
    /// A host without plugins.
    pub(crate) async fn open() -> Result<Self, BoxError> {
        Ok(Self { host: Host::builder().config(Config::default()).open().await? })
    }

    /// A host that serves the echo itself.
    pub(crate) async fn in_process(policy: PolicySaid) -> Result<Self, BoxError> {
        let builder = Host::builder().config(Config { policy, ..Config::default() });
        Ok(Self { host: builder.service(EchoServiceServer::new(Echo)).open().await? })
    }

    /// A host whose gateway listens on `listen`.
    pub(crate) async fn gateway(listen: std::path::PathBuf) -> Result<Self, BoxError> {
        let mut config = Config::default();
        config.gateway.unix = Some(listen);
        Ok(Self { host: Host::builder().config(config).open().await? })
    }

    /// What a generated client is given.
    pub(crate) fn channel(&self) -> Channel {
        self.host.channel()
    }

    /// Starts a plugin as its process, on the given CPUs.
    pub(crate) async fn launch(
        &self,
        transport: place::Transport,
        cpus: Cpus,
        max_connections: Option<u32>,
    ) -> Result<(), BoxError> {
        let (program, args) = process::command(&Role::Server(server::Spec::Sdk), cpus)?;
        let (variable, value) = allocator::variable(Plugin::Sdk.allocator());
        let source = Source::Process(Box::new(ProcessConfig {
            command: CommandLine { program: Program::File(program), args },
            env: [(variable.to_owned(), Secret::new(value))].into(),
            dir: std::env::temp_dir(),
            build: None,
            instances: InstanceCount::default(),
            transport: match transport {
                place::Transport::Unix => Transport::Unix,
                place::Transport::Tls => Transport::Tcp,
            },
        }));
        self.load(source, max_connections).await
    }

    /// Dials a plugin that runs already, as so many instances.
    pub(crate) async fn dial(
        &self,
        place: &Place,
        instances: usize,
        max_connections: Option<u32>,
    ) -> Result<(), BoxError> {
        let endpoints = vec![endpoint(place)?; instances];
        self.load(Source::Remote(RemoteConfig { endpoints }), max_connections).await
    }

    async fn load(&self, source: Source, max_connections: Option<u32>) -> Result<(), BoxError> {
        let mut policy = PolicySaid::default();
        policy.connection.max_connections = max_connections;
        let options = PluginOptions {
            services: Some(vec![server::SERVICE.to_owned()]),
            policy,
            ..PluginOptions::default()
        };
        let plugin = PluginConfig::new(server::NAME.parse()?, source, options, &Config::default());
        Ok(self.host.mesh().load(plugin).await?)
    }

    /// Ends the plugin.
    pub(crate) async fn unload(&self) -> Result<(), BoxError> {
        Ok(self.host.mesh().unload(&server::NAME.parse()?, Duration::ZERO).await?)
    }

    /// Process of the plugin.
    pub(crate) fn pid(&self) -> Result<u32, BoxError> {
        let plugins = self.host.plugins();
        let instance = plugins.iter().flat_map(|plugin| &plugin.instances).find(|instance| instance.pid != 0);
        Ok(instance.ok_or("the host started no process")?.pid)
    }

    /// Kills the plugin and waits until calls are answered again, by another process: proof that what was
    /// measured is the whole mesh.
    pub(crate) async fn survive(&self) -> Result<(), BoxError> {
        let killed = self.pid()?;
        let raw = i32::try_from(killed).ok().and_then(Pid::from_raw).ok_or("no process id")?;
        rustix::process::kill_process(raw, Signal::KILL)?;
        let since = Instant::now();
        let mut client = EchoServiceClient::new(self.channel());
        let mut board = self.host.board().follow();
        loop {
            let answer = client.echo(EchoRequest { payload: vec![7; 100] }).await;
            match answer {
                Ok(_) if self.pid()? != killed => return Ok(()),
                _ if since.elapsed() > RETURN => return Err("the plugin did not come back".into()),
                _ => {}
            }
            // It answers when it does; whichever changes first is a reason to look again.
            let _ = tokio::time::timeout(Duration::from_millis(20), board.changed()).await;
        }
    }

    /// Ends the host in good order.
    pub(crate) async fn close(self) {
        self.host.shutdown(Duration::from_secs(1)).await;
    }
}

fn endpoint(place: &Place) -> Result<Endpoint, BoxError> {
    match place {
        Place::Unix(path) => Ok(Endpoint::Unix(path.clone())),
        Place::Tls { port, certificates } => {
            let tls = ClientTls {
                ca: certificates.ca.clone(),
                cert: certificates.client.cert.clone(),
                key: certificates.client.key.clone(),
                check: ServerCheck::ServerName("localhost".to_owned()),
            };
            Ok(Endpoint::parse(&format!("https://127.0.0.1:{port}"), Some(&Arc::new(tls)))?)
        }
    }
}
