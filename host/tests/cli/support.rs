//! A host that answers what the test says, and the binary that asks it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use plugmesh::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use plugmesh::admin::v1::*;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// Proto of the service that the fake host offers beside its own.
pub(crate) const DEMO: &str = r#"
syntax = "proto3";
package demo.v1;
import "google/protobuf/timestamp.proto";
service Demo {
  rpc Add(Pair) returns (Sum);
  rpc Count(Sum) returns (stream Sum);
  rpc Total(stream Sum) returns (Sum);
  rpc Echo(stream Sum) returns (stream Sum);
}
message Pair { int32 a = 1; int32 b = 2; repeated string tags = 3; google.protobuf.Timestamp at = 4; }
message Sum { int64 value = 1; }
"#;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Pair {
    #[prost(int32, tag = "1")]
    pub(crate) a: i32,
    #[prost(int32, tag = "2")]
    pub(crate) b: i32,
    #[prost(string, repeated, tag = "3")]
    pub(crate) tags: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sum {
    #[prost(int64, tag = "1")]
    pub(crate) value: i64,
}

/// Which reflection a fake host serves.
#[derive(Clone, Copy)]
pub(crate) enum Reflection {
    V1,
    V1Alpha,
    None,
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) fn admin(asked: &Arc<Mutex<Vec<String>>>) -> AdminServiceServer<impl AdminService> {
    AdminServiceServer::new(Admin { asked: Arc::clone(asked) })
}

/// A running fake host; ends when dropped.
pub(crate) struct Fake {
    pub(crate) socket: PathBuf,
    /// What was asked, a line each.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    directory: tempfile::TempDir,
    // The tasks of the host live in it, and end with it.
    _runtime: tokio::runtime::Runtime,
}

impl Fake {
    pub(crate) fn start() -> Self {
        Self::with(Reflection::V1)
    }

    pub(crate) fn with(version: Reflection) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("gateway.sock");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let runtime = runtime();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(&socket).unwrap()
        };
        let demo = directory.path().join("demo.proto");
        std::fs::write(&demo, DEMO).unwrap();
        let files = protox::compile(["demo.proto"], [directory.path()]).unwrap();
        let reflection = tonic_reflection::server::Builder::configure().register_file_descriptor_set(files);
        let router = tonic::transport::Server::builder()
            .add_service(admin(&asked))
            .add_service(super::call::Demo { asked: Arc::clone(&asked) });
        let router = match version {
            Reflection::V1 => router.add_service(reflection.build_v1().unwrap()),
            Reflection::V1Alpha => router.add_service(reflection.build_v1alpha().unwrap()),
            Reflection::None => router,
        };
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        runtime.spawn(router.serve_with_incoming(incoming));
        Self { socket, asked, directory, _runtime: runtime }
    }

    /// The binary, told of this host.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = plugmesh(args);
        command.env("PLUGMESH_HOST", &self.socket);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap(), self.directory.path())
    }

    /// Runs with this on standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let file = self.directory.path().join("input");
        std::fs::write(&file, input).unwrap();
        let output = self.command(args).stdin(std::fs::File::open(file).unwrap()).output().unwrap();
        Ran::of(output, self.directory.path())
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The binary, away from the environment of whoever runs the tests.
#[allow(clippy::disallowed_methods, reason = "the subject of these tests is a process")]
pub(crate) fn plugmesh(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugmesh"));
    command.args(args).stdin(Stdio::null());
    for name in ["PLUGMESH_HOST", "XDG_RUNTIME_DIR", "NO_COLOR", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

/// What a run of the binary left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// `place` is written as `PLACE` in the outputs.
    pub(crate) fn of(output: Output, place: &Path) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&place.display().to_string(), "PLACE");
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Ended well, with this output and no remarks.
    #[track_caller]
    pub(crate) fn printed(&self, expected: &str) {
        assert_eq!((self.code, self.err.as_str(), self.out.as_str()), (0, "", expected));
    }

    /// Ended with this code and these words, and no output.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, expected: &str) {
        assert_eq!((self.code, self.out.as_str(), self.err.as_str()), (code, "", expected));
    }
}

struct Admin {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Admin {
    fn note(&self, what: impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{what:?}"));
    }
}

/// A plugin that everything can be said about.
pub(crate) fn calculator() -> Plugin {
    let instance = |ordinal: u32| Instance {
        name: format!("calculator-{ordinal}"),
        instance_id: format!("id{ordinal}"),
        epoch: 3,
        state: if ordinal == 0 { InstanceState::Ready } else { InstanceState::Backoff }.into(),
        message: if ordinal == 0 { "" } else { "exit status 1" }.into(),
        kind: InstanceKind::Process.into(),
        address: format!("unix:///run/calculator-{ordinal}.sock"),
        pid: 40 + ordinal,
        in_flight: 2,
        calls: 1_000,
        failures: 1,
        restarts: ordinal,
        ready_time: None,
        start_duration: Some(prost_types::Duration { seconds: 0, nanos: 4_000_000 }),
        health: if ordinal == 0 { HealthState::Healthy } else { HealthState::Unhealthy }.into(),
        health_response_duration: (ordinal == 0)
            .then_some(prost_types::Duration { seconds: 0, nanos: 300_000 }),
        health_check_time: None,
    };
    Plugin {
        name: "calculator".into(),
        version: "1.2.0".into(),
        description: "Adds\u{1b}[2J".into(),
        author: "ada".into(),
        labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        state: PluginState::Degraded.into(),
        message: "1 of 2 instances".into(),
        tier: 2,
        services: vec!["demo.v1.Demo".into(), "demo.v1.Other".into()],
        instances: vec![instance(0), instance(1)],
        manifest: "/plugins/calculator/plugin.yaml".into(),
        requires: vec![Requirement { plugin: "text".into(), version_range: "^1".into(), satisfied: false }],
        health: HealthState::Degraded.into(),
        wanted_instances: 2,
        ready_instances: 1,
        scale: Some(ScaleRange { min: 1, max: 4, target_in_flight: 10, warm: 1 }),
    }
}

/// A plugin about which there is little to say.
pub(crate) fn text() -> Plugin {
    Plugin {
        name: "text".into(),
        version: "0.1.0".into(),
        state: PluginState::Ready.into(),
        health: HealthState::Healthy.into(),
        ..Plugin::default()
    }
}

fn known(name: &str) -> Result<Plugin, Status> {
    match name {
        "calculator" => Ok(calculator()),
        _ => Err(Status::not_found(format!("no plugin {name:?}; did you mean calculator?"))),
    }
}

type Answers<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answers<T: Send + 'static>(all: Vec<T>) -> Answers<T> {
    Box::pin(tokio_stream::iter(all.into_iter().map(Ok).collect::<Vec<_>>()))
}

#[tonic::async_trait]
impl AdminService for Admin {
    type WatchPluginsStream = Answers<WatchPluginsResponse>;
    type TailLogsStream = Answers<TailLogsResponse>;

    async fn get_host(&self, _: Request<GetHostRequest>) -> Result<Response<GetHostResponse>, Status> {
        Ok(Response::new(GetHostResponse {
            id: "h1".into(),
            name: "box".into(),
            version: "0.1.0".into(),
            start_time: None,
            addresses: vec!["unix:///run/gateway.sock".into()],
            pid: 7,
            plugins: 2,
            ready_plugins: 1,
        }))
    }

    async fn get_health(
        &self,
        request: Request<GetHealthRequest>,
    ) -> Result<Response<GetHealthResponse>, Status> {
        let instance = |ordinal: u32, state: HealthState| InstanceHealth {
            name: format!("calculator-{ordinal}"),
            state: state.into(),
            message: if ordinal == 0 { "" } else { "has not answered for 3s" }.into(),
            response_duration: (ordinal == 0).then_some(prost_types::Duration { seconds: 0, nanos: 300_000 }),
            check_time: None,
        };
        let calculator = PluginHealth {
            name: "calculator".into(),
            state: HealthState::Degraded.into(),
            message: "is not whole: calculator-1 has not answered for 3s".into(),
            instances: vec![instance(0, HealthState::Healthy), instance(1, HealthState::Degraded)],
        };
        let text =
            PluginHealth { name: "text".into(), state: HealthState::Healthy.into(), ..Default::default() };
        Ok(Response::new(match &*request.get_ref().name {
            "" => GetHealthResponse {
                state: HealthState::Degraded.into(),
                message: "calculator-1 has not answered for 3s".into(),
                plugins: vec![calculator, text],
            },
            "text" => GetHealthResponse {
                state: HealthState::Healthy.into(),
                message: String::new(),
                plugins: vec![text],
            },
            name => return Err(Status::not_found(format!("no plugin {name:?}"))),
        }))
    }

    async fn list_plugins(
        &self,
        _: Request<ListPluginsRequest>,
    ) -> Result<Response<ListPluginsResponse>, Status> {
        Ok(Response::new(ListPluginsResponse { plugins: vec![calculator(), text()] }))
    }

    async fn get_plugin(
        &self,
        request: Request<GetPluginRequest>,
    ) -> Result<Response<GetPluginResponse>, Status> {
        Ok(Response::new(GetPluginResponse { plugin: Some(known(&request.get_ref().name)?) }))
    }

    async fn watch_plugins(
        &self,
        request: Request<WatchPluginsRequest>,
    ) -> Result<Response<Self::WatchPluginsStream>, Status> {
        self.note(request.get_ref());
        let removed = Plugin { name: "text".into(), ..Plugin::default() };
        Ok(Response::new(answers(vec![
            WatchPluginsResponse { kind: ChangeKind::Existing.into(), plugin: Some(calculator()) },
            WatchPluginsResponse { kind: ChangeKind::Removed.into(), plugin: Some(removed) },
        ])))
    }

    async fn load_plugin(
        &self,
        request: Request<LoadPluginRequest>,
    ) -> Result<Response<LoadPluginResponse>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(LoadPluginResponse { plugin: Some(text()) }))
    }

    async fn unload_plugin(
        &self,
        request: Request<UnloadPluginRequest>,
    ) -> Result<Response<UnloadPluginResponse>, Status> {
        self.note(request.get_ref());
        Err(Status::failed_precondition("text requires calculator"))
    }

    async fn reload_plugin(
        &self,
        request: Request<ReloadPluginRequest>,
    ) -> Result<Response<ReloadPluginResponse>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(ReloadPluginResponse { plugin: Some(text()) }))
    }

    async fn enable_plugin(
        &self,
        request: Request<EnablePluginRequest>,
    ) -> Result<Response<EnablePluginResponse>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(EnablePluginResponse { plugin: Some(text()) }))
    }

    async fn disable_plugin(
        &self,
        request: Request<DisablePluginRequest>,
    ) -> Result<Response<DisablePluginResponse>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(DisablePluginResponse { plugin: Some(text()) }))
    }

    async fn attach_plugin(
        &self,
        request: Request<AttachPluginRequest>,
    ) -> Result<Response<AttachPluginResponse>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(AttachPluginResponse { plugin: Some(text()) }))
    }

    async fn drain_plugin(
        &self,
        request: Request<DrainPluginRequest>,
    ) -> Result<Response<DrainPluginResponse>, Status> {
        self.note(request.get_ref());
        let in_flight = if request.get_ref().instance.is_empty() { 0 } else { 3 };
        Ok(Response::new(DrainPluginResponse { in_flight }))
    }

    async fn list_services(
        &self,
        _: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        let method = |name: &str, streams: bool| Method {
            name: name.into(),
            input_type: "demo.v1.Pair".into(),
            output_type: "demo.v1.Sum".into(),
            client_streaming: false,
            server_streaming: streams,
        };
        Ok(Response::new(ListServicesResponse {
            services: vec![
                Service {
                    name: "demo.v1.Demo".into(),
                    plugins: vec!["calculator".into()],
                    methods: vec![method("Count", true), method("Add", false)],
                },
                Service {
                    name: "demo.v1.Other".into(),
                    plugins: vec!["a".into(), "b".into()],
                    methods: vec![],
                },
            ],
        }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        self.note(request.get_ref());
        let candidate = |instance: &str, eligible: bool, reason: &str| Candidate {
            instance: instance.into(),
            state: if eligible { InstanceState::Ready } else { InstanceState::Unhealthy }.into(),
            in_flight: 1,
            eligible,
            reason: reason.into(),
            weight: 1,
            latency: Some(prost_types::Duration { seconds: 0, nanos: 1_250_000 }).filter(|_| eligible),
            breaker: if eligible { BreakerState::Closed } else { BreakerState::Open }.into(),
            ..Candidate::default()
        };
        let setting = |key: &str, value: &str, set_by: &str| Setting {
            key: key.into(),
            value: value.into(),
            set_by: set_by.into(),
        };
        Ok(Response::new(ExplainResponse {
            plugin: "calculator".into(),
            policy: "least_request".into(),
            summary: "One instance can take the call.".into(),
            candidates: vec![
                candidate("calculator-0", true, "least in flight"),
                candidate("calculator-1", false, "says NOT_SERVING"),
            ],
            settings: vec![
                setting("retry.max_retries", "3", "default"),
                setting("hedging.delay", "p95", "method"),
            ],
            method: "demo.v1.Demo/Add".into(),
            retry_budget: 100.0,
            queued: 2,
            in_flight_limit: 50,
            ..ExplainResponse::default()
        }))
    }

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        self.note(request.get_ref());
        let line = |stream: LogStream, level: &str, line: &str, fields: &str, lost| TailLogsResponse {
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            instance: "calculator-0".into(),
            stream: stream.into(),
            level: level.into(),
            line: line.into(),
            fields_json: fields.into(),
            lost,
        };
        Ok(Response::new(answers(vec![
            line(LogStream::Stderr, "warn", "careful", r#"{"left":3}"#, 0),
            line(LogStream::Stdout, "", "\u{1b}[2Jgone", "", 5),
        ])))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(ShutdownResponse {}))
    }
}
