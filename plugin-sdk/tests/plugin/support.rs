//! A plugin on a Unix socket in a temporary directory, and a small service for it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream, StreamExt};
use http::uri::PathAndQuery;
use http::{Request as HttpRequest, Response as HttpResponse};
use hyper_util::rt::TokioIo;
use plugmesh::env;
use plugmesh::plugin::v1::plugin_service_client::PluginServiceClient;
use plugmesh::plugin::v1::{Callback, ContractVersions, HandshakeRequest, HostInfo, Session};
use plugmesh_sdk::{Context, Error, Plugin};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

/// Bound on everything that a test waits for; nothing takes that long.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A plugin running in this process.
pub(crate) struct Running {
    pub(crate) context: Context,
    pub(crate) socket: PathBuf,
    task: JoinHandle<Result<(), Error>>,
    _directory: tempfile::TempDir,
}

pub(crate) fn plugin() -> Plugin {
    Plugin::new("probe", "1.2.3")
}

impl Running {
    /// Serves `plugin` as a host that has launched it would find it.
    pub(crate) async fn start(plugin: Plugin) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let variables =
            [(env::LISTEN, format!("unix://{}", socket.display())), (env::INSTANCE_ID, "i".into())];
        let context = plugin.context();
        let task = tokio::spawn(plugin.environment(variables).serve());
        wait_until(async || UnixStream::connect(&socket).await.is_ok()).await;
        Self { context, socket, task, _directory: directory }
    }

    pub(crate) fn channel(&self) -> Channel {
        channel(&self.socket)
    }

    pub(crate) fn contract(&self) -> PluginServiceClient<Channel> {
        PluginServiceClient::new(self.channel())
    }

    pub(crate) async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest { service: service.into() };
        HealthClient::new(self.channel()).check(request).await.map(|answer| answer.into_inner().status())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until the plugin has ended by itself.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(SOON, self.task).await.expect("the plugin has not ended").unwrap()
    }
}

pub(crate) fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://plugin").connect_with_connector_lazy(connector)
}

/// Waits until `condition` holds, asking again and again.
pub(crate) async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, holds).await.expect("waited in vain");
}

pub(crate) fn session(epoch: u64) -> Session {
    Session { host_id: "host".into(), session_id: format!("session-{epoch}"), epoch }
}

pub(crate) fn handshake(epoch: u64) -> HandshakeRequest {
    HandshakeRequest {
        contracts: vec![ContractVersions {
            contract: plugmesh::PLUGIN_CONTRACT.into(),
            versions: vec![2, 1],
        }],
        host: Some(HostInfo { id: "host".into(), ..Default::default() }),
        session: Some(session(epoch)),
        managed: true,
        ..Default::default()
    }
}

pub(crate) fn callback(address: String, token: &str) -> Callback {
    Callback { address, token: token.into(), ca_certificates_pem: String::new() }
}

/// `test.Probe`: texts in, texts out.
#[derive(Clone, Default)]
pub(crate) struct Probe(Arc<Inner>);

#[derive(Default)]
struct Inner {
    release: Notify,
    context: Mutex<Option<Context>>,
}

pub(crate) const PROBE: &str = "test.Probe";

impl Probe {
    /// Lets one `Hold` call, or the stream of one `HoldStream` call, end.
    pub(crate) fn release(&self) {
        self.0.release.notify_one();
    }

    /// For `Relay`, which calls `Echo` through the gateway.
    pub(crate) fn with_context(self, context: Context) -> Self {
        *self.0.context.lock().unwrap() = Some(context);
        self
    }

    async fn answer(self, method: String, request: Request<String>) -> Result<Response<String>, Status> {
        match method.as_str() {
            "Echo" => {
                let metadata = request.metadata();
                let seen =
                    |name| metadata.get(name).map_or("-".into(), |v| format!("{v:?}").replace('"', ""));
                let keys = ["plugmesh-token", "plugmesh-plugin", "traceparent", "tracestate"].map(seen);
                let timeout = metadata.get("grpc-timeout").is_some();
                Ok(Response::new(format!("{} {} timeout={timeout}", request.get_ref(), keys.join(" "))))
            }
            "Hold" => {
                self.0.release.notified().await;
                Ok(Response::new("held".into()))
            }
            "Panic" => panic!("a probe's panic"),
            "LatePanic" => {
                tokio::task::yield_now().await;
                panic!("a probe's late panic")
            }
            "Relay" => {
                let context = self.0.context.lock().unwrap().clone().unwrap();
                let mut onward = Client::new(context.gateway());
                Ok(Response::new(onward.call("Echo", request.into_inner()).await?))
            }
            _ => Err(Status::unimplemented("no such method")),
        }
    }

    fn stream(self, method: &str) -> impl Stream<Item = Result<String, Status>> + Send + 'static {
        let hold = method == "HoldStream";
        let probe = self.clone();
        let rest = stream::once(async move {
            if hold {
                probe.0.release.notified().await;
            } else {
                // What is sent before a wait has left; what is sent in the poll that panics is lost.
                tokio::task::yield_now().await;
                panic!("a probe's panic in mid-stream");
            }
            Ok("last".to_owned())
        });
        stream::iter([Ok("first".to_owned())]).chain(rest)
    }
}

impl NamedService for Probe {
    const NAME: &'static str = PROBE;
}

impl tower_service::Service<HttpRequest<Body>> for Probe {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        struct Method(Probe, String);
        impl UnaryService<String> for Method {
            type Response = String;
            type Future = BoxFuture<'static, Result<Response<String>, Status>>;
            fn call(&mut self, request: Request<String>) -> Self::Future {
                Box::pin(self.0.clone().answer(self.1.clone(), request))
            }
        }
        impl ServerStreamingService<String> for Method {
            type Response = String;
            type ResponseStream = std::pin::Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;
            type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;
            fn call(&mut self, _: Request<String>) -> Self::Future {
                let stream: Self::ResponseStream = Box::pin(self.0.clone().stream(&self.1));
                Box::pin(std::future::ready(Ok(Response::new(stream))))
            }
        }
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        assert!(method != "EarlyPanic", "a probe's early panic");
        let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
        let probe = self.clone();
        Box::pin(async move {
            Ok(if method.ends_with("Stream") {
                grpc.server_streaming(Method(probe, method), request).await
            } else {
                grpc.unary(Method(probe, method), request).await
            })
        })
    }
}

/// A client of [`Probe`] over any channel.
pub(crate) struct Client<T>(tonic::client::Grpc<T>);

impl<T> Client<T>
where
    T: tonic::client::GrpcService<Body>,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    pub(crate) fn new(channel: T) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    pub(crate) async fn call(&mut self, method: &str, text: impl Into<String>) -> Result<String, Status> {
        self.request(method, Request::new(text.into())).await
    }

    pub(crate) async fn request(&mut self, method: &str, request: Request<String>) -> Result<String, Status> {
        self.ready().await?;
        let codec = ProstCodec::<String, String>::default();
        self.0.unary(request, path(method), codec).await.map(Response::into_inner)
    }

    pub(crate) async fn stream(
        &mut self,
        method: &str,
        request: Request<String>,
    ) -> tonic::Streaming<String> {
        self.ready().await.unwrap();
        let codec = ProstCodec::<String, String>::default();
        self.0.server_streaming(request, path(method), codec).await.unwrap().into_inner()
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::new(Code::Unavailable, error.into().to_string()))
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/{PROBE}/{method}").parse().unwrap()
}
