//! What answers when no instance of a plugin is there for a call.

use super::*;
use crate::config::{JsonConfig, PolicyTarget};
use crate::route::stats::Event;
use crate::route::{MethodInfo, ServiceInfo};
use crate::transport::Pool;

/// What each call to a plugin looked like: the request, the attempts before and its time.
type Seen = Arc<std::sync::Mutex<Vec<(Vec<u8>, http::HeaderMap)>>>;

/// Two plugins with the same service, of which `demo` has `lite` as its fallback.
struct Mesh {
    router: Router,
    demo: Arc<Endpoint>,
    lite: Arc<Endpoint>,
    seen: Seen,
    server: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Mesh {
    async fn new<F, R>(handle: F, change: impl FnOnce(&mut PolicySaid)) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Clone + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["demo", "lite"].map(|name| directory.path().join(name));
        let seen = Seen::default();
        let server = serve(&paths[0], handle);
        serve(&paths[1], {
            let seen = seen.clone();
            move |request, mut reply| {
                let seen = seen.clone();
                async move {
                    let headers = request.headers().clone();
                    let Ok(all) = read(request.into_body()).await else { return };
                    seen.lock().unwrap().push((all.clone(), headers));
                    let mut send = reply.send_response(head(), false).unwrap();
                    send.send_data(all.into(), false).unwrap();
                    send.send_trailers(ok()).unwrap();
                }
            }
        });
        let demo = endpoint(&paths[0], 0).await;
        let router = router_with(std::slice::from_ref(&demo), 1 << 20, |said| {
            said.fallback.plugin = Some(Some("lite".parse().unwrap()));
            change(said);
        });
        let lite = endpoint_of("lite", &paths[1]).await;
        let route = Route::new("lite".parse().unwrap(), RouteSettings::default());
        route.insert(lite.clone());
        route.set_availability(&lite, Availability::Ready);
        router.insert(route, ["demo.v1.Demo".to_owned()]);
        Self { router, demo, lite, seen, server, _directory: directory }
    }

    /// The only instance of `demo` is not ready any more.
    fn stop(&self) {
        let route = self.router.route(&name()).unwrap();
        route.set_availability(&self.demo, Availability::Starting);
    }

    async fn call(&self, frames: Vec<Bytes>) -> Result<Response<CallBody>, Status> {
        call(&self.router, request(body(frames, false))).await
    }

    fn stats(&self, plugin: &str, event: Event) -> u64 {
        self.router.find(METHOD, Some(plugin)).unwrap().stats().events(event)
    }

    /// Calls of a plugin by the status that was seen of them.
    fn codes(&self, plugin: &str) -> Vec<(Code, u64)> {
        codes(&self.router.find(METHOD, Some(plugin)).unwrap())
    }
}

pub(super) fn codes(method: &Method) -> Vec<(Code, u64)> {
    method.stats().by_code().map(|(code, latency)| (code, latency.snapshot().count())).collect()
}

async fn endpoint_of(plugin: &str, path: &Path) -> Arc<Endpoint> {
    let dialer = Dialer::plain(Address::unix(path));
    let pool = Pool::new(dialer, 1, Settings::default(), Handle::current(), TaskTracker::new());
    pool.connect(None).await.unwrap();
    let name = InstanceName::new(plugin.parse().unwrap(), 0);
    Endpoint::new(name, InstanceId::random(), 1, Lane::Http2(pool), &Policy::default())
}

async fn whole(response: Response<CallBody>) -> (http::HeaderMap, Bytes, http::HeaderMap) {
    let (head, body) = response.into_parts();
    let collected = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (head.headers, collected.to_bytes(), trailers)
}

#[tokio::test]
async fn another_plugin_gets_the_whole_call_and_is_named() {
    let mesh = Mesh::new(echo, |_| {}).await;
    let sent = [message(10), message(2000)];
    // While an instance is there, nobody else is asked, and the plugin that stands in is no second provider.
    let (headers, data, _) = whole(mesh.call(sent.to_vec()).await.unwrap()).await;
    assert_eq!((headers.get("plugmesh-fallback"), data.len()), (None, 2020));
    assert_eq!(mesh.lite.calls(), 0);
    mesh.stop();
    let (headers, data, trailers) = whole(mesh.call(sent.to_vec()).await.unwrap()).await;
    assert_eq!(
        (&headers["plugmesh-fallback"], &trailers["grpc-status"]),
        (&"lite".parse().unwrap(), &"0".parse().unwrap())
    );
    assert_eq!(data, sent.concat());
    assert_eq!((mesh.stats("demo", Event::Fallback), mesh.stats("lite", Event::Fallback)), (1, 0));
    assert_eq!((mesh.codes("demo"), mesh.codes("lite")), (vec![(Code::Ok, 2)], vec![(Code::Ok, 1)]));
    assert_eq!(mesh.router.replay_memory().used(), 0);
}

#[tokio::test]
async fn it_gets_the_whole_call_after_an_attempt_that_nobody_looked_at() {
    for retries in [true, false] {
        let is_here = Arc::new(tokio::sync::Notify::new());
        let may_refuse = Arc::new(tokio::sync::Notify::new());
        let (tell, wait) = (is_here.clone(), may_refuse.clone());
        // Has all of the request, and says that it did not look at it when no instance is there any more.
        let refuses = move |request: Request<RecvStream>, mut reply: SendResponse<Bytes>| {
            let (tell, wait) = (tell.clone(), wait.clone());
            async move {
                read(request.into_body()).await.unwrap();
                tell.notify_one();
                wait.notified().await;
                reply.send_reset(Reason::REFUSED_STREAM);
            }
        };
        let mesh = Mesh::new(refuses, |said| said.retry.enabled = Some(retries)).await;
        let calling = tokio::spawn(mesh.router.channel().call(request(body(vec![message(3000)], false))));
        tokio::time::timeout(PATIENCE, is_here.notified()).await.unwrap();
        mesh.stop();
        may_refuse.notify_one();
        let result = tokio::time::timeout(PATIENCE, calling).await.unwrap().unwrap();
        if !retries {
            // It would have been another attempt.
            assert_eq!((status(result).await.code(), mesh.lite.calls()), (Code::Unavailable, 0));
            continue;
        }
        let (headers, data, _) = whole(result.unwrap()).await;
        assert_eq!((headers["plugmesh-fallback"].as_bytes(), &data), (&b"lite"[..], &message(3000)));
        let seen = mesh.seen.lock().unwrap();
        assert_eq!((seen.len(), seen[0].1.get("grpc-previous-rpc-attempts")), (1, None));
    }
}

#[tokio::test]
async fn an_instance_that_fails_is_an_answer() {
    for resets in [false, true] {
        let fails = move |request: Request<RecvStream>, mut reply: SendResponse<Bytes>| async move {
            read(request.into_body()).await.unwrap();
            let mut head = head();
            head.headers_mut().insert("grpc-status", (Code::Unavailable as i32).into());
            match resets {
                true => reply.send_reset(Reason::ENHANCE_YOUR_CALM),
                false => drop(reply.send_response(head, true).unwrap()),
            }
        };
        let mesh = Mesh::new(fails, |_| {}).await;
        let status = status(mesh.call(vec![message(1)]).await).await;
        let code = if resets { Code::ResourceExhausted } else { Code::Unavailable };
        assert_eq!((status.code(), mesh.lite.calls()), (code, 0), "{status}");
        assert_eq!(mesh.codes("demo"), [(code, 1)]);
    }
}

#[tokio::test]
async fn those_who_pin_an_instance_get_nothing_else() {
    let mesh = Mesh::new(echo, |_| {}).await;
    mesh.stop();
    for pin in ["demo-0", "demo-7"] {
        let mut request = request(body(vec![message(1)], false));
        request.headers_mut().insert("plugmesh-instance", pin.parse().unwrap());
        assert_eq!(status(call(&mesh.router, request).await).await.code(), Code::Unavailable);
    }
    assert_eq!(mesh.lite.calls(), 0);
}

#[tokio::test]
async fn a_fallback_that_does_not_help_says_why() {
    let mesh = Mesh::new(echo, |_| {}).await;
    mesh.stop();
    mesh.router.route(&"lite".parse().unwrap()).unwrap().remove(mesh.lite.id());
    let mut request_in_time = request(body(vec![message(1)], false));
    request_in_time.headers_mut().insert("grpc-timeout", "10m".parse().unwrap());
    let status_of_both = status(call(&mesh.router, request_in_time).await).await;
    assert!(
        status_of_both.message().ends_with("the plugin lite has no ready instance: it has none"),
        "{status_of_both}"
    );
    mesh.router.remove(&"lite".parse().unwrap());
    let status = status(mesh.call(vec![message(1)]).await).await;
    assert_eq!(
        status.message(),
        "the plugin demo has no ready instance: demo-0 is starting; nor is its fallback of help: there is no plugin \
         \"lite\""
    );
    assert_eq!(mesh.stats("demo", Event::Fallback), 0);
}

#[tokio::test]
async fn a_stream_that_has_not_begun_goes_to_the_fallback_as_it_comes() {
    let mesh = Mesh::new(echo, |said| said.retry.buffer_size = Some(crate::config::ByteSize::bytes(0))).await;
    mesh.stop();
    let (feed, frames) = tokio::sync::mpsc::channel(1);
    let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
    let open = tonic::body::Body::new(StreamBody::new(frames));
    let calling = tokio::spawn(mesh.router.channel().call(request(open)));
    for _ in 0..3 {
        feed.send(Ok::<_, Status>(Frame::data(message(100)))).await.unwrap();
    }
    drop(feed);
    let (headers, data, _) = whole(calling.await.unwrap().unwrap()).await;
    assert_eq!((headers["plugmesh-fallback"].as_bytes(), data.len()), (&b"lite"[..], 315));
}

#[tokio::test]
async fn a_call_whose_connection_is_gone_goes_to_the_fallback() {
    let mesh = Mesh::new(echo, |_| {}).await;
    mesh.server.abort();
    let Lane::Http2(pool) = mesh.demo.lane() else { unreachable!() };
    tokio::time::timeout(PATIENCE, pool.lost()).await.unwrap();
    let mut pinned = request(body(vec![message(1)], false));
    pinned.headers_mut().insert("plugmesh-instance", "demo-0".parse().unwrap());
    assert_eq!(status(call(&mesh.router, pinned).await).await.code(), Code::Unavailable);
    let (headers, ..) = whole(mesh.call(vec![message(1)]).await.unwrap()).await;
    assert_eq!(headers["plugmesh-fallback"], "lite");
}

#[tokio::test]
async fn no_plugin_stands_in_for_itself() {
    let mesh = Mesh::new(echo, |said| said.fallback.plugin = Some(Some(name()))).await;
    let method = mesh.router.find(METHOD, Some("demo")).unwrap();
    assert!(method.rescue().is_none());
    let error = mesh.router.find(METHOD, None).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "both are equals");
}

/// A router of `demo` with a fixed answer for `Call`, and no instance.
fn fixed(answer: &'static [u8]) -> (Router, Arc<Method>) {
    let mut said = PolicySaid::default();
    said.connection.ready_timeout = Some(Duration::from_secs(3));
    let mut answers = PolicySaid::default();
    answers.fallback.answer = Some(Some(JsonConfig::default()));
    let target: PolicyTarget = "demo.v1.Demo/Call".parse().unwrap();
    let policies = Policies::default().with(SetBy::Host, said).with_targets(&[(target, answers)].into());
    let route = Route::new(name(), RouteSettings { policies, ..RouteSettings::default() });
    let method = |name: &str| MethodInfo {
        name: name.to_owned(),
        answer: Some(Bytes::from_static(answer)),
        ..MethodInfo::default()
    };
    let methods = vec![method("Call"), method("Other")];
    let router = Router::new();
    router.insert(route, [ServiceInfo { name: "demo.v1.Demo".to_owned(), methods }]);
    let method = router.find(METHOD, None).unwrap();
    (router, method)
}

#[tokio::test(start_paused = true)]
async fn a_fixed_answer_is_given_after_the_wait_and_counts_as_ok() {
    let (router, method) = fixed(b"abc");
    let begun = tokio::time::Instant::now();
    let (headers, data, trailers) =
        whole(router.channel().call(request(body(vec![], false))).await.unwrap()).await;
    assert_eq!(begun.elapsed().as_secs(), 3, "an instance might come");
    assert_eq!(
        (&headers["content-type"], &headers["plugmesh-fallback"]),
        (&"application/grpc".parse().unwrap(), &"answer".parse().unwrap())
    );
    assert_eq!((&data[..], trailers["grpc-status"].as_bytes()), (&b"\0\0\0\0\x03abc"[..], &b"0"[..]));
    assert_eq!(codes(&method), [(Code::Ok, 1)]);
    assert_eq!(method.stats().events(Event::Fallback), 1);
    let other = Request::post("/demo.v1.Demo/Other").body(body(vec![], false)).unwrap();
    let status = status(router.channel().call(other).await).await;
    assert_eq!(status.code(), Code::Unavailable, "nothing is said of it");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_counted_as_one_that_left() {
    let (router, method) = fixed(b"");
    let mut calling = Box::pin(router.channel().call(request(body(vec![], false))));
    assert!(futures_util::poll!(&mut calling).is_pending());
    drop(calling);
    assert_eq!(codes(&method), [(Code::Cancelled, 1)]);
    assert_eq!(method.route().waiting().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_for_another_policy_is_not_given() {
    let (router, _) = fixed(b"old");
    router.insert(Route::new(name(), RouteSettings::default()), ["demo.v1.Demo".to_owned()]);
    let status = status(router.channel().call(request(body(vec![], false))).await).await;
    assert_eq!(status.code(), Code::Unavailable);
}
