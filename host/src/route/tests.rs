//! Calls through a whole route, over real sockets, to peers that speak bare HTTP/2.

mod admission;
mod breaker;
mod cache;
mod fallback;
mod flow;
mod hedge;
mod probe;
mod reconnect;
mod reserved;
mod retry;
mod wait;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};
use tower_service::Service;

use super::*;
use crate::config::{Balance, Policies, Policy, PolicySaid, SetBy};
use crate::name::{InstanceId, InstanceName, PluginName};
use crate::transport::{Address, Dialer, Lane, Pool, Settings};

/// Long enough for a slow machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const METHOD: &str = "/demo.v1.Demo/Call";

fn name() -> PluginName {
    "demo".parse().unwrap()
}

/// A server that answers each call as `handle` says, for as long as its task is kept.
fn serve<F, R>(path: &Path, handle: F) -> tokio::task::JoinHandle<()>
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((io, _)) = listener.accept().await {
            let handle = handle.clone();
            connections.spawn(async move {
                let mut connection = h2::server::handshake(io).await.unwrap();
                let mut calls = tokio::task::JoinSet::new();
                while let Some(Ok((request, reply))) = connection.accept().await {
                    calls.spawn(handle(request, reply));
                }
            });
        }
    })
}

async fn endpoint(path: &Path, ordinal: u32) -> Arc<Endpoint> {
    endpoint_with(path, ordinal, &Policy::default()).await
}

async fn endpoint_with(path: &Path, ordinal: u32, policy: &Policy) -> Arc<Endpoint> {
    let dialer = Dialer::plain(Address::unix(path));
    let pool = Pool::new(dialer, 1, Settings::default(), Handle::current(), TaskTracker::new());
    pool.connect(None).await.unwrap();
    Endpoint::new(InstanceName::new(name(), ordinal), InstanceId::random(), 1, Lane::Http2(pool), policy)
}

fn router(endpoints: &[Arc<Endpoint>], max_message: u64) -> Router {
    router_with(endpoints, max_message, |_| {})
}

/// With a policy of its own for what `change` changes.
fn router_with(
    endpoints: &[Arc<Endpoint>],
    max_message: u64,
    change: impl FnOnce(&mut PolicySaid),
) -> Router {
    let mut said = PolicySaid::default();
    said.balance.policy = Some(Balance::RoundRobin);
    // A test that finds nothing ready is not to wait for it.
    said.connection.ready_timeout = Some(Duration::from_millis(1));
    change(&mut said);
    let policies = Policies::default().with(SetBy::Host, said);
    let route = Route::new(name(), RouteSettings { policies, max_message });
    for endpoint in endpoints {
        route.insert(endpoint.clone());
        route.set_availability(endpoint, Availability::Ready);
    }
    let router = Router::new();
    router.insert(route, ["demo.v1.Demo".to_owned()]);
    router
}

/// One endpoint whose server answers as `handle` says.
async fn demo<F, R>(max_message: u64, handle: F) -> (Router, Arc<Endpoint>, tempfile::TempDir)
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    serve(&path, handle);
    let endpoint = endpoint(&path, 0).await;
    (router(std::slice::from_ref(&endpoint), max_message), endpoint, directory)
}

fn message(length: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes.resize(5 + length, 7);
    bytes.into()
}

/// A request body of frames that are there already, and then, with `open`, never ends.
fn body(frames: Vec<Bytes>, open: bool) -> tonic::body::Body {
    let frames =
        futures_util::stream::iter(frames.into_iter().map(|data| Ok::<_, Status>(Frame::data(data))));
    match open {
        false => tonic::body::Body::new(StreamBody::new(frames)),
        true => {
            let never = futures_util::stream::pending();
            tonic::body::Body::new(StreamBody::new(futures_util::StreamExt::chain(frames, never)))
        }
    }
}

fn request(body: tonic::body::Body) -> Request<tonic::body::Body> {
    Request::post(METHOD).body(body).unwrap()
}

async fn call(router: &Router, request: Request<tonic::body::Body>) -> Result<Response<CallBody>, Status> {
    tokio::time::timeout(PATIENCE, router.channel().call(request)).await.expect("the call ends")
}

/// The status that a call ended with, wherever it came.
async fn status(result: Result<Response<CallBody>, Status>) -> Status {
    match result {
        Err(status) => status,
        Ok(response) if response.headers().contains_key("grpc-status") => {
            Status::from_header_map(response.headers()).unwrap()
        }
        Ok(response) => match tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap() {
            Err(status) => status,
            Ok(collected) => collected
                .trailers()
                .and_then(Status::from_header_map)
                .unwrap_or_else(|| Status::unknown("no status")),
        },
    }
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn ok() -> http::HeaderMap {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers
}

async fn read(mut recv: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = recv.data().await.transpose()? {
        recv.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all)
}

/// Sends back what it got, once, as one message.
async fn echo(request: Request<RecvStream>, mut reply: SendResponse<Bytes>) {
    let Ok(all) = read(request.into_body()).await else { return };
    let mut send = reply.send_response(head(), false).unwrap();
    send.send_data(all.into(), false).unwrap();
    send.send_trailers(ok()).unwrap();
}

#[tokio::test]
async fn a_call_goes_there_and_back() {
    let (router, endpoint, _directory) = demo(1000, echo).await;
    let response = call(&router, request(body(vec![message(3), message(4)], false))).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), [message(3), message(4)].concat());
    assert_eq!((endpoint.in_flight(), endpoint.calls(), endpoint.failures()), (0, 1, 0));
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_before_and_after_the_response_begins() {
    let told = "request message of 1001 bytes is over the host's limit of 1000 bytes for the plugin demo; raise \
                max_message_size of that plugin in plugmesh.yaml or plugin.yaml";
    let (router, _, _directory) = demo(1000, echo).await;
    let status_before = status(call(&router, request(body(vec![message(1001)], false))).await).await;
    assert_eq!((status_before.code(), status_before.message()), (Code::ResourceExhausted, told));

    let begins = |request: Request<RecvStream>, mut reply: SendResponse<Bytes>| async move {
        let _send = reply.send_response(head(), false).unwrap();
        let _ = read(request.into_body()).await;
        std::future::pending().await
    };
    let (router, _, _directory) = demo(1000, begins).await;
    let (feed, frames) = tokio::sync::mpsc::channel(1);
    let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
    let open = tonic::body::Body::new(StreamBody::new(frames));
    let response = call(&router, request(open)).await.unwrap();
    feed.send(Ok::<_, Status>(Frame::data(message(1001)))).await.unwrap();
    let status_after = status(Ok(response)).await;
    assert_eq!((status_after.code(), status_after.message()), (Code::ResourceExhausted, told));
}

#[tokio::test]
async fn a_response_over_the_limit_is_refused() {
    let large = |_: Request<RecvStream>, mut reply: SendResponse<Bytes>| async move {
        let mut send = reply.send_response(head(), false).unwrap();
        send.send_data(message(1001), false).unwrap();
        std::future::pending().await
    };
    let (router, endpoint, _directory) = demo(1000, large).await;
    let status = status(call(&router, request(body(vec![], false))).await).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status.message().starts_with("response message of 1001 bytes is over the host's limit"),
        "{status}"
    );
    assert_eq!(endpoint.failures(), 0, "the plugin did its work");
}

#[tokio::test]
async fn a_deadline_ends_a_call_before_and_after_the_response_begins() {
    for begins in [false, true] {
        let hangs = move |_: Request<RecvStream>, mut reply: SendResponse<Bytes>| async move {
            let _send = begins.then(|| reply.send_response(head(), false).unwrap());
            std::future::pending().await
        };
        let (router, endpoint, _directory) = demo(1000, hangs).await;
        let mut request = request(body(vec![message(1)], false));
        request.headers_mut().insert("grpc-timeout", "30m".parse().unwrap());
        let status = status(call(&router, request).await).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(status.message().contains("demo-0"), "{status}");
        assert_eq!((endpoint.in_flight(), endpoint.failures()), (0, 1));
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_peer() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let waits = move |request: Request<RecvStream>, mut reply: SendResponse<Bytes>| {
        let tell = tell.clone();
        async move {
            let _body = request.into_body();
            tell.send(None).await.unwrap();
            let reason = std::future::poll_fn(|cx| reply.poll_reset(cx)).await.unwrap();
            tell.send(Some(reason)).await.unwrap();
        }
    };
    let (router, endpoint, _directory) = demo(1000, waits).await;
    let running = tokio::spawn(router.channel().call(request(body(vec![message(1)], true))));
    assert_eq!(told.recv().await.unwrap(), None);
    assert_eq!(endpoint.in_flight(), 1);
    running.abort();
    let reason = tokio::time::timeout(PATIENCE, told.recv()).await.expect("the peer is told").unwrap();
    assert_eq!(reason, Some(Reason::CANCEL));
    assert_eq!((endpoint.in_flight(), endpoint.calls(), endpoint.failures()), (0, 1, 0));
}

#[tokio::test]
async fn a_connection_lost_under_way_names_the_instance() {
    let begins = |_: Request<RecvStream>, mut reply: SendResponse<Bytes>| async move {
        let _send = reply.send_response(head(), false).unwrap();
        std::future::pending().await
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let server = serve(&path, begins);
    let endpoint = endpoint(&path, 0).await;
    let router = router(std::slice::from_ref(&endpoint), 1000);
    let response = call(&router, request(body(vec![message(1)], false))).await.unwrap();
    server.abort();
    let status = status(Ok(response)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().starts_with("instance demo-0 of plugin demo: the connection was lost"),
        "{status}"
    );
    assert_eq!((endpoint.in_flight(), endpoint.failures()), (0, 1));
}

#[tokio::test]
async fn a_call_goes_elsewhere_when_the_picked_connection_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [directory.path().join("a"), directory.path().join("b")];
    let doomed = serve(&paths[0], echo);
    serve(&paths[1], echo);
    let endpoints = [endpoint(&paths[0], 0).await, endpoint(&paths[1], 1).await];
    let router = router(&endpoints, 1000);
    doomed.abort();
    let Lane::Http2(pool) = endpoints[0].lane() else { unreachable!() };
    tokio::time::timeout(PATIENCE, pool.lost()).await.unwrap();
    for _ in 0..10 {
        let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
        assert_eq!(status.code(), Code::Ok, "{status}");
    }
    assert_eq!(endpoints[1].calls(), 10);
}

#[tokio::test]
async fn an_instance_can_be_pinned_by_name_and_by_id() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [directory.path().join("a"), directory.path().join("b")];
    paths.iter().for_each(|path| drop(serve(path, echo)));
    let endpoints = [endpoint(&paths[0], 0).await, endpoint(&paths[1], 1).await];
    let router = router(&endpoints, 1000);
    for pin in ["demo-1", endpoints[1].id().as_str()] {
        let mut request = request(body(vec![message(1)], false));
        request.headers_mut().insert("plugmesh-instance", pin.parse().unwrap());
        assert_eq!(status(call(&router, request).await).await.code(), Code::Ok);
    }
    assert_eq!((endpoints[0].calls(), endpoints[1].calls()), (0, 2));
    let mut gone = request(body(vec![], false));
    gone.headers_mut().insert("plugmesh-instance", "demo-7".parse().unwrap());
    let status = status(call(&router, gone).await).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the plugin demo has no instance \"demo-7\" (any more)");
}

#[tokio::test]
async fn what_cannot_be_routed_says_what_to_do() {
    let (router, endpoint, _directory) = demo(1000, echo).await;
    let other = Route::new("other".parse().unwrap(), RouteSettings::default());
    router.insert(other, ["demo.v1.Demo".to_owned(), "other.v1.Other".to_owned()]);
    let cases = [
        (
            "/demo.v1.Dem0/Call",
            None,
            Code::Unimplemented,
            "no plugin provides the service demo.v1.Dem0; did you mean demo.v1.Demo?",
        ),
        (
            "/x/Call",
            None,
            Code::Unimplemented,
            "no plugin provides the service x; `plugmesh services` lists those there are",
        ),
        (
            METHOD,
            None,
            Code::FailedPrecondition,
            "the service demo.v1.Demo is provided by several plugins: demo, other; choose one with the metadata plugmesh-plugin",
        ),
        (METHOD, Some("demos"), Code::NotFound, "there is no plugin \"demos\"; did you mean demo?"),
        (
            "/other.v1.Other/Call",
            Some("demo"),
            Code::Unimplemented,
            "the plugin demo does not provide the service other.v1.Other; its services: demo.v1.Demo",
        ),
        (METHOD, Some("other"), Code::Unavailable, "the plugin other has no ready instance: it has none"),
        (
            "/nonsense",
            None,
            Code::Unimplemented,
            "\"/nonsense\" is not a gRPC method: it should be /package.Service/Method",
        ),
    ];
    for (path, plugin, code, text) in cases {
        let mut request = Request::post(path).body(body(vec![], false)).unwrap();
        if let Some(plugin) = plugin {
            request.headers_mut().insert("plugmesh-plugin", plugin.parse().unwrap());
        }
        let status = status(call(&router, request).await).await;
        assert_eq!((status.code(), status.message()), (code, text));
    }
    assert_eq!(endpoint.calls(), 0);
}

#[tokio::test]
async fn a_reset_becomes_the_code_that_grpc_gives_it() {
    let resets = |request: Request<RecvStream>, mut reply: SendResponse<Bytes>| async move {
        let reason: u32 = request.headers()["x-reason"].to_str().unwrap().parse().unwrap();
        reply.send_reset(reason.into());
    };
    let (router, _, _directory) = demo(1000, resets).await;
    for (reason, code) in [
        (Reason::REFUSED_STREAM, Code::Unavailable),
        (Reason::CANCEL, Code::Cancelled),
        (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
        (Reason::PROTOCOL_ERROR, Code::Internal),
    ] {
        let mut request = request(body(vec![], false));
        request.headers_mut().insert("x-reason", u32::from(reason).into());
        let status = status(call(&router, request).await).await;
        assert_eq!(status.code(), code, "{reason}: {status}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_new_connection_gets_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    // One call on each connection, then GOAWAY.
    let server = tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((io, _)) = listener.accept().await {
            connections += 1;
            let mut connection = h2::server::handshake(io).await.unwrap();
            let mut calls = tokio::task::JoinSet::new();
            while let Some(Ok((request, reply))) = connection.accept().await {
                connection.graceful_shutdown();
                calls.spawn(echo(request, reply));
            }
            if connections == 20 {
                return;
            }
        }
    });
    let endpoint = endpoint(&path, 0).await;
    let router = router(std::slice::from_ref(&endpoint), 1000);
    for _ in 0..20 {
        let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
        assert_eq!(status.code(), Code::Ok, "{status}");
    }
    tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap();
}

/// What a caller sees when the plugin answers with this head, these bytes and these trailers.
async fn answered(
    head: Response<()>,
    data: &'static [u8],
    trailers: Option<http::HeaderMap>,
) -> (Code, String, u64) {
    let handle = move |_: Request<RecvStream>, mut reply: SendResponse<Bytes>| {
        let (head, trailers) = (head.clone(), trailers.clone());
        async move {
            let mut send = reply.send_response(head, false).unwrap();
            send.send_data(Bytes::from_static(data), trailers.is_none()).unwrap();
            if let Some(trailers) = trailers {
                send.send_trailers(trailers).unwrap();
            }
        }
    };
    let (router, endpoint, _directory) = demo(1000, handle).await;
    let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
    assert_eq!(endpoint.in_flight(), 0);
    (status.code(), status.message().to_owned(), endpoint.failures())
}

#[tokio::test]
async fn an_answer_that_is_not_grpc_is_told_as_such() {
    let html = Response::builder().status(503).header("content-type", "text/html").body(()).unwrap();
    let (code, message, failures) = answered(html, b"<h1>later</h1>", None).await;
    assert_eq!((code, failures), (Code::Unavailable, 1));
    let said = "instance demo-0 of plugin demo answered with HTTP status 503 and content-type \"text/html\"";
    assert!(message.starts_with(said), "{message}");
}

#[tokio::test]
async fn an_answer_without_a_status_or_cut_in_a_message_has_failed() {
    let (code, message, failures) = answered(head(), b"\0\0\0\0\x01x", None).await;
    assert_eq!((code, failures), (Code::Unknown, 1));
    assert!(message.contains("demo-0") && message.contains("without a gRPC status"), "{message}");
    let (code, message, failures) = answered(head(), b"\0\0\0\0\x09x", Some(ok())).await;
    assert_eq!((code, failures), (Code::Internal, 1));
    assert!(message.contains("demo-0") && message.contains("in the middle of a message"), "{message}");
    assert_eq!(answered(head(), b"\0\0\0\0\x01x", Some(ok())).await.0, Code::Ok);
}
