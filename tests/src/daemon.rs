//! A running `plugmesh serve`.

mod builder;

use std::path::{Path, PathBuf};
use std::process::Command;

use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plugmesh::admin::v1::admin_service_client::AdminServiceClient;
use plugmesh::admin::v1::{
    GetHostRequest, GetPluginRequest, Instance, InstanceState, Plugin, PluginState, WatchPluginsRequest,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

pub use builder::DaemonBuilder;

use crate::binaries::binary;
use crate::calculator::calculator_service_client::CalculatorServiceClient;
use crate::probe::probe_service_client::ProbeServiceClient;
use crate::process::{Process, Ran, tied};
use crate::scrape::Scrape;
use crate::tools;
use crate::wait::DEADLINE;

/// Largest message that the clients of a daemon take and send.
const MAX_MESSAGE: usize = 256 << 20;

/// A client that keeps no time of its own.
pub type Patient = legacy::Client<
    tower::util::BoxCloneSyncService<http::Uri, TokioIo<tokio::net::UnixStream>, std::io::Error>,
    tonic::body::Body,
>;

/// A running `plugmesh serve` in directories of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    // Dropped in this order: the directories go when nobody uses them any more.
    process: Process,
    channel: Channel,
    home: TempDir,
}

impl Daemon {
    /// Describes one.
    pub fn builder() -> DaemonBuilder {
        DaemonBuilder::default()
    }

    /// The directory that holds everything of this daemon; its path is in the environment of all its
    /// processes.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The directory of its plugins.
    pub fn plugins_dir(&self) -> PathBuf {
        self.home.path().join("plugins")
    }

    /// Its `XDG_RUNTIME_DIR`.
    pub fn runtime_dir(&self) -> PathBuf {
        self.home.path().join("run")
    }

    /// The socket of its gateway.
    pub fn socket(&self) -> PathBuf {
        socket_in(self.home.path())
    }

    /// The guardian: the process that was started.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Process id of the host itself, a child of the guardian.
    pub async fn pid(&self) -> u32 {
        self.admin().get_host(GetHostRequest {}).await.expect("a host that answers").into_inner().pid
    }

    /// Addresses at which the gateway listens.
    pub async fn addresses(&self) -> Vec<String> {
        self.admin().get_host(GetHostRequest {}).await.expect("a host that answers").into_inner().addresses
    }

    /// `HOST:PORT` of its TCP listener.
    pub async fn tcp(&self) -> String {
        let addresses = self.addresses().await;
        let tcp =
            addresses.iter().find_map(|address| Some(address.split_once("://")?).filter(|it| it.0 != "unix"));
        tcp.unwrap_or_else(|| panic!("no TCP listener among {addresses:?}")).1.to_owned()
    }

    /// The connection to the gateway's Unix socket that all clients of this daemon share.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The probe, through the gateway, over plain HTTP/2. Unlike a [`Channel`] this sends `grpc-timeout` without
    /// acting on it, so that only the host can end a call that is late.
    pub fn patient_probe(&self) -> ProbeServiceClient<Patient> {
        let socket = self.socket();
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let connect = tower::util::BoxCloneSyncService::new(connect);
        let client = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build(connect);
        ProbeServiceClient::with_origin(client, http::Uri::from_static("http://localhost"))
    }

    /// What operators can do.
    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// The calculator, through the gateway.
    pub fn calculator(&self) -> CalculatorServiceClient<Channel> {
        CalculatorServiceClient::new(self.channel())
    }

    /// The probe, through the gateway.
    pub fn probe(&self) -> ProbeServiceClient<Channel> {
        ProbeServiceClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// Its metrics, as a scraper reads them from the gateway's Unix socket.
    pub async fn metrics(&self) -> Scrape {
        let io = tokio::net::UnixStream::connect(self.socket()).await.expect("a gateway");
        Scrape::read(io).await
    }

    /// Runs the command line against this daemon.
    pub async fn cli(&self, args: &[&str]) -> Ran {
        self.cli_process(args).ended().await
    }

    /// Starts the command line against this daemon.
    pub fn cli_process(&self, args: &[&str]) -> Process {
        Process::start(plugmesh(self.home.path()).args(args).env("PLUGMESH_HOST", self.socket()))
    }

    /// Runs grpcurl against the gateway's Unix socket.
    pub async fn grpcurl(&self, args: &[&str]) -> Ran {
        tools::grpcurl_unix(&self.socket(), args).await
    }

    /// The plugin as `AdminService` shows it.
    pub async fn plugin(&self, name: &str) -> Plugin {
        let answer = self.admin().get_plugin(GetPluginRequest { name: name.into() }).await;
        answer.unwrap_or_else(|status| panic!("{name}: {status}")).into_inner().plugin.expect("a plugin")
    }

    /// One instance of a plugin, by its ordinal.
    pub async fn instance(&self, plugin: &str, ordinal: usize) -> Instance {
        let all = self.plugin(plugin).await.instances;
        all.get(ordinal).cloned().unwrap_or_else(|| panic!("no instance {ordinal} in {all:?}"))
    }

    /// Follows the plugin until it is as wanted.
    pub async fn wait_for(&self, name: &str, mut wanted: impl FnMut(&Plugin) -> bool) -> Plugin {
        let watch = self.admin().watch_plugins(WatchPluginsRequest { name: name.into() }).await;
        let mut changes = watch.expect("a watch").into_inner();
        let mut last = None;
        let found = tokio::time::timeout(DEADLINE, async {
            while let Some(change) = changes.message().await.expect("a watch that goes on") {
                let plugin = change.plugin.expect("a plugin");
                if plugin.name == name && wanted(&plugin) {
                    return plugin;
                }
                last = Some(plugin);
            }
            panic!("the watch ended");
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain for {name}, which is {last:#?}"))
    }

    /// Follows the plugin until every instance is ready.
    pub async fn wait_ready(&self, name: &str) -> Plugin {
        self.wait_for(name, |plugin| plugin.state() == PluginState::Ready).await
    }

    /// Follows the plugin until `incarnation` is gone and all its instances are ready again.
    pub async fn wait_restarted(&self, plugin: &str, incarnation: &str) -> Plugin {
        let fresh = |instance: &Instance| {
            instance.state() == InstanceState::Ready && instance.instance_id != incarnation
        };
        self.wait_for(plugin, |plugin| plugin.instances.iter().all(fresh)).await
    }

    /// Writes a plugin into the directory of plugins, without telling the daemon.
    pub fn write(&self, plugin: &crate::PluginDir) -> PathBuf {
        plugin.write(&self.plugins_dir())
    }

    /// What it logged up to now.
    pub fn log(&self) -> String {
        self.process.err()
    }

    /// Waits until the log contains `text`.
    pub async fn logged(&self, text: &str) {
        assert!(self.process.wrote_error(text).await, "never logged {text:?}:\n{}", self.log());
    }

    /// Ends it as a service manager does, and gives what it left.
    pub async fn stop(self) -> Ran {
        let Self { process, channel, home } = self;
        drop(channel);
        let ran = process.end(Signal::TERM).await;
        drop(home);
        ran
    }

    /// Waits until it has ended by itself, and keeps its directories.
    pub async fn ended(self) -> (Ran, TempDir) {
        (self.process.ended().await, self.home)
    }
}

/// The binary, in an environment of its own below `home`.
fn plugmesh(home: &Path) -> Command {
    environment(binary("plugmesh"), home)
}

/// A program, in an environment of its own below `home`.
fn environment(program: &Path, home: &Path) -> Command {
    let mut command = tied(program);
    command.env_clear();
    // Rust programs of a coverage or sanitizer run need these; nothing else passes.
    let passing = ["PATH", "USER", "TZ", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];
    command.envs(passing.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    // Whatever the language of this machine: tests compare what tools say.
    command.env("LANG", "C.UTF-8");
    command.env("XDG_RUNTIME_DIR", home.join("run")).env("HOME", home.join("home"));
    command.current_dir(home);
    command
}

fn socket_in(home: &Path) -> PathBuf {
    home.join("run/plugmesh/gateway.sock")
}

/// Connects to a Unix socket, at the first call and again after a break.
pub fn connect_unix(path: impl Into<PathBuf>) -> Channel {
    let path = path.into();
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}
