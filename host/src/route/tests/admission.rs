//! Calls that are let in, that wait, and that are turned away.

use tonic_types::StatusExt;

use super::*;
use crate::route::stats::Event;
use crate::route::{MethodInfo, ServiceInfo};

async fn refused(router: &Router, request: Request<tonic::body::Body>) -> Status {
    let status = status(call(router, request).await).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(wait.is_some_and(|wait| wait > Duration::ZERO), "it says when to come back: {status}");
    status
}

fn one() -> Request<tonic::body::Body> {
    request(body(vec![message(1)], false))
}

async fn is_ok(router: &Router, request: Request<tonic::body::Body>) -> bool {
    status(call(router, request).await).await.code() == Code::Ok
}

#[tokio::test]
async fn calls_beyond_the_rate_are_told_when_to_come_back() {
    let directory = tempfile::tempdir().unwrap();
    serve(&directory.path().join("s"), echo);
    let endpoint = endpoint(&directory.path().join("s"), 0).await;
    let router = router_with(std::slice::from_ref(&endpoint), 1000, |said| {
        // One in a quarter of an hour: a slow machine gets none more.
        said.rate_limit.requests_per_second = Some(Some(0.001));
        said.rate_limit.burst_size = Some(2);
    });
    assert!(is_ok(&router, one()).await && is_ok(&router, one()).await);
    let status = refused(&router, one()).await;
    assert!(
        status.message().starts_with("the rate limit for this call to the plugin demo is used up"),
        "{status}"
    );
    let method = router.find(METHOD, None).unwrap();
    assert_eq!((method.stats().events(Event::RateLimited), endpoint.calls()), (1, 2));
}

#[tokio::test]
async fn each_principal_has_a_rate_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    serve(&directory.path().join("s"), echo);
    let endpoint = endpoint(&directory.path().join("s"), 0).await;
    let router = router_with(&[endpoint], 1000, |said| {
        said.rate_limit.principal_requests_per_second = Some(Some(0.001));
        said.rate_limit.principal_burst_size = Some(1);
    });
    let by = |caller: &'static str| {
        let mut request = one();
        request.headers_mut().insert("plugmesh-caller", caller.parse().unwrap());
        request
    };
    assert!(is_ok(&router, by("operator")).await);
    refused(&router, by("operator")).await;
    assert!(is_ok(&router, by("plugin/text/text-0")).await && is_ok(&router, one()).await);
    refused(&router, one()).await;
}

#[tokio::test]
async fn a_rate_is_shared_by_what_it_is_written_at() {
    let policies = |yaml: &str| {
        let text = format!(
            "plugins: {{demo: {{rate_limit: {{requests_per_second: 0.001, burst_size: 1}}, policies: {yaml}}}}}"
        );
        let context = crate::config::Context::process();
        let file = Path::new("/plugmesh.yaml");
        let config = crate::config::Config::parse(text.as_bytes(), file, &context).unwrap();
        let options = config.plugins.entries.values().next().unwrap().options.clone();
        Policies::default().with(SetBy::Plugin, options.policy).with_targets(&options.policies)
    };
    let admitted = |yaml: &str, paths: &[&str]| {
        let settings = RouteSettings { policies: policies(yaml), ..RouteSettings::default() };
        let router = Router::new();
        let methods = ["C", "D"].map(|name| MethodInfo { name: name.into(), ..MethodInfo::default() });
        let services =
            ["a.B", "x.Y"].map(|name| ServiceInfo { name: name.into(), methods: methods.to_vec() });
        router.insert(Route::new(name(), settings), services);
        let admits = |path: &&&str| {
            let method = router.find(path, None).unwrap();
            method
                .rates()
                .is_none_or(|rates| rates.admit(&http::HeaderMap::new(), method.route().now()).is_ok())
        };
        paths.iter().filter(admits).copied().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = ["/a.B/C", "/a.B/D", "/x.Y/C", "/x.Y/D"];
    assert_eq!(admitted("{}", &all), ["/a.B/C"]);
    assert_eq!(admitted("{a.B: {rate_limit: {burst_size: 1}}}", &all), ["/a.B/C", "/x.Y/C"]);
    assert_eq!(admitted("{a.B/D: {rate_limit: {enabled: false}}}", &all), ["/a.B/C", "/a.B/D"]);
}

/// A server that answers when it is told to, and one call that it has.
async fn busy(
    change: impl FnOnce(&mut PolicySaid),
) -> (
    Router,
    tokio::task::JoinHandle<Result<Response<CallBody>, Status>>,
    tokio::sync::watch::Sender<bool>,
    tempfile::TempDir,
) {
    let directory = tempfile::tempdir().unwrap();
    let (go, gone) = tokio::sync::watch::channel(false);
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    serve(&directory.path().join("s"), move |request, reply| {
        let (mut gone, tell) = (gone.clone(), tell.clone());
        async move {
            let _ = tell.try_send(());
            gone.wait_for(|go| *go).await.unwrap();
            echo(request, reply).await;
        }
    });
    let endpoint = endpoint(&directory.path().join("s"), 0).await;
    let router = router_with(&[endpoint], 1000, change);
    let first = tokio::spawn(router.channel().call(one()));
    told.recv().await.unwrap();
    (router, first, go, directory)
}

#[tokio::test]
async fn calls_beyond_what_may_be_in_flight_wait_and_then_are_turned_away() {
    for per_instance in [false, true] {
        let (router, first, go, _directory) = busy(|said| {
            match per_instance {
                true => said.concurrency.max_in_flight_per_instance = Some(Some(1)),
                false => said.concurrency.max_in_flight = Some(Some(1)),
            }
            said.concurrency.queue_size = Some(1);
            said.concurrency.queue_timeout = Some(PATIENCE);
        })
        .await;
        let mut second = Box::pin(router.channel().call(one()));
        assert!(futures_util::poll!(&mut second).is_pending());
        let status_of_third = refused(&router, one()).await;
        assert_eq!(
            status_of_third.message(),
            "the plugin demo has 1 calls in flight, which is its limit, and 1 that wait: the queue is full"
        );
        go.send_replace(true);
        // A place is free when the answer has been read, not when it begins.
        let first = first.await.unwrap().unwrap();
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(status(Ok(first)).await.code(), Code::Ok);
        let second = tokio::time::timeout(PATIENCE, second).await.unwrap();
        assert_eq!(status(second).await.code(), Code::Ok);
        let method = router.find(METHOD, None).unwrap();
        assert_eq!(method.stats().events(Event::Shed), 1);
        assert_eq!(method.route().limit().unwrap().limiter().in_flight(), 0);
    }
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_turned_away() {
    let (router, _first, _go, _directory) = busy(|said| {
        said.concurrency.max_in_flight = Some(Some(1));
        said.concurrency.queue_timeout = Some(Duration::from_millis(20));
    })
    .await;
    let status_of_second = refused(&router, one()).await;
    assert!(
        status_of_second.message().ends_with("no call ended within the longest wait"),
        "{status_of_second}"
    );
    let mut hurried = one();
    hurried.headers_mut().insert("grpc-timeout", "5m".parse().unwrap());
    let status = status(call(&router, hurried).await).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
}
