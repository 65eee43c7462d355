//! A gateway in a temporary directory, a mock upstream, and a client that speaks bare HTTP/2.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::Status;

use crate::gateway::reflection::Catalog;
use crate::gateway::{
    Callers, Config, Gateway, GatewayHandle, HealthSource, Limits, Listen, Pages, RequestBody, ServerCalls,
    Services, ServingStatus, Upstream,
};
use crate::name::{InstanceName, PluginName};

/// Long enough for a slow machine; a test that needs it has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of the page of metrics.
pub(super) const METRICS: usize = 2_000_000;

pub(super) type MockBody = UnsyncBoxBody<Bytes, Status>;

pub(super) const DEMO: &str = r#"
    syntax = "proto3";
    package demo.v1;
    message Text { string text = 1; }
    service Echo {
        rpc Say(Text) returns (Text);
        rpc Chat(stream Text) returns (stream Text);
    }
"#;

pub(super) struct Running {
    pub(super) handle: GatewayHandle,
    pub(super) path: PathBuf,
    pub(super) catalog: Catalog,
    pub(super) known: Arc<Known>,
    pub(super) calls: Arc<ServerCalls>,
    /// Of the listener for pages alone.
    pub(super) pages: std::net::SocketAddr,
    pub(super) directory: tempfile::TempDir,
}

/// What the gateway asks about plugins.
#[derive(Default)]
pub(super) struct Known {
    pub(super) pids: Mutex<HashMap<i32, InstanceName>>,
    pub(super) tokens: Mutex<HashMap<String, InstanceName>>,
    pub(super) health: Mutex<HashMap<(String, Option<PluginName>), ServingStatus>>,
    pub(super) changes: watch::Sender<u64>,
}

impl Callers for Known {
    fn by_pid(&self, pid: i32) -> Option<InstanceName> {
        self.pids.lock().unwrap().get(&pid).cloned()
    }

    fn by_token(&self, token: &str) -> Option<InstanceName> {
        self.tokens.lock().unwrap().get(token).cloned()
    }
}

impl Pages for Known {
    /// A large one: more than the windows of a client that does not read, and than the buffers of a socket.
    fn metrics(&self) -> (String, &'static str) {
        ("up 1\n".repeat(METRICS / 5), "text/plain; version=0.0.4")
    }

    fn ready(&self) -> Result<(), String> {
        match self.pids.lock().unwrap().is_empty() {
            true => Ok(()),
            false => Err("demo is starting".to_owned()),
        }
    }
}

impl HealthSource for Known {
    fn status(&self, service: &str, plugin: Option<&PluginName>) -> Option<ServingStatus> {
        self.health.lock().unwrap().get(&(service.to_owned(), plugin.cloned())).copied()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Known {
    pub(super) fn set_health(&self, service: &str, plugin: Option<PluginName>, status: ServingStatus) {
        self.health.lock().unwrap().insert((service.into(), plugin), status);
        self.changes.send_modify(|count| *count += 1);
    }
}

pub(super) async fn start(upstream: impl Upstream, limits: Limits) -> Running {
    let known = Arc::new(Known::default());
    start_with(upstream, limits, vec![], None, known).await
}

pub(super) async fn start_with(
    upstream: impl Upstream,
    limits: Limits,
    mut listen: Vec<Listen>,
    admin: Option<tonic::service::Routes>,
    known: Arc<Known>,
) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    listen.push(Listen::Unix { path: path.clone() });
    let listed = vec!["spiffe://test/operator".to_owned()];
    let pages = Some("127.0.0.1:0".parse().unwrap());
    let bound = Gateway::bind(Config { listen, limits, admin: listed, pages }).unwrap();
    let pages = bound.pages_address().unwrap();
    let catalog = Catalog::new();
    let calls = ServerCalls::new(catalog.clone());
    let services = Services {
        admin,
        catalog: catalog.clone(),
        health: known.clone(),
        callers: known.clone(),
        pages: known.clone(),
        calls: calls.clone(),
    };
    Running { handle: bound.serve(upstream, services), path, catalog, known, calls, pages, directory }
}

impl Running {
    pub(super) async fn client(&self) -> SendRequest<Bytes> {
        self.client_with(h2::client::Builder::new()).await
    }

    pub(super) async fn client_with(&self, builder: h2::client::Builder) -> SendRequest<Bytes> {
        let io = UnixStream::connect(&self.path).await.unwrap();
        let (client, connection) = builder.handshake(io).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// An upstream out of a function.
pub(super) fn upstream<F, Fut>(
    call: F,
) -> impl tower_service::Service<
    Request<RequestBody>,
    Response = Response<MockBody>,
    Error = Status,
    Future = impl Future<Output = Result<Response<MockBody>, Status>> + Send,
> + Clone
+ Send
+ 'static
where
    F: FnMut(Request<RequestBody>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Response<MockBody>, Status>> + Send + 'static,
{
    tower::service_fn(call)
}

/// Sends back each message as it comes, then status 0 and the request's `x-*` metadata.
pub(super) async fn echo(request: Request<RequestBody>) -> Result<Response<MockBody>, Status> {
    let (head, body) = request.into_parts();
    let mut trailers = ok_trailers();
    for (name, value) in &head.headers {
        if name.as_str().starts_with("x-") || name.as_str().starts_with("plugmesh-") {
            trailers.append(name, value.clone());
        }
    }
    let frames = http_body_util::BodyDataStream::new(body);
    let frames = futures_util::StreamExt::map(frames, |data| data.map(Frame::data));
    let end = futures_util::stream::iter([Ok(Frame::trailers(trailers))]);
    let mut response = response(StreamBody::new(futures_util::StreamExt::chain(frames, end)).boxed_unsync());
    if let Some(encoding) = head.headers.get("grpc-encoding") {
        response.headers_mut().insert("grpc-encoding", encoding.clone());
    }
    Ok(response)
}

pub(super) fn response(body: MockBody) -> Response<MockBody> {
    let response = Response::builder().header("content-type", "application/grpc+proto").header("x-head", "1");
    response.body(body).unwrap()
}

pub(super) fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers
}

pub(super) fn grpc(path: &str) -> http::request::Builder {
    Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
}

pub(super) fn say() -> http::request::Builder {
    grpc("/demo.v1.Echo/Say")
}

/// A gRPC message of `length` bytes.
pub(super) fn message(length: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend((length as u32).to_be_bytes());
    bytes.resize(5 + length, b'x');
    bytes.into()
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: http::response::Parts,
    pub(super) data: Bytes,
    pub(super) trailers: HeaderMap,
}

impl Answer {
    /// The gRPC status, from trailers or from a trailers-only head.
    pub(super) fn status(&self) -> Status {
        Status::from_header_map(&self.trailers)
            .or_else(|| Status::from_header_map(&self.head.headers))
            .expect("a gRPC status")
    }
}

/// One call with a request that is sent at once.
pub(super) async fn call(client: &SendRequest<Bytes>, request: Request<()>, data: Bytes) -> Answer {
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut send) = client.send_request(request, false).unwrap();
    send.send_data(data, true).unwrap();
    tokio::time::timeout(PATIENCE, collect(response)).await.expect("an answer").unwrap()
}

pub(super) async fn collect(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut recv) = response.await?.into_parts();
    let mut data = BytesMut::new();
    while let Some(piece) = recv.data().await {
        let piece = piece?;
        recv.flow_control().release_capacity(piece.len())?;
        data.extend_from_slice(&piece);
    }
    let trailers = recv.trailers().await?.unwrap_or_default();
    Ok(Answer { head, data: data.freeze(), trailers })
}

/// The descriptor set of a proto with the given text.
pub(super) fn compile(name: &str, text: &str) -> Bytes {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(name), text).unwrap();
    let mut compiler = protox::Compiler::new([directory.path()]).unwrap();
    compiler.include_imports(true).open_file(name).unwrap();
    compiler.encode_file_descriptor_set().into()
}

pub(super) fn plugin(name: &str) -> PluginName {
    name.parse().unwrap()
}
