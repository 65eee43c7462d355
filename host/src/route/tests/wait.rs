//! Calls for which no endpoint is ready.

use super::*;
use crate::transport::InProcess;

/// A route to one endpoint in this process, and that endpoint, which is not ready.
fn idle(change: impl FnOnce(&mut PolicySaid)) -> (Router, Arc<Route>, Arc<Endpoint>) {
    let (_, health) = tonic_health::server::health_reporter();
    let lane = Lane::InProcess(Arc::new(InProcess::default().with(health)));
    let mut said = PolicySaid::default();
    change(&mut said);
    let policies = Policies::default().with(SetBy::Host, said);
    let route = Route::new(name(), RouteSettings { policies, ..RouteSettings::default() });
    let endpoint = route.endpoint(InstanceName::new(name(), 0), InstanceId::random(), 1, lane);
    route.insert(endpoint.clone());
    let router = Router::new();
    router.insert(route.clone(), ["grpc.health.v1.Health".to_owned()]);
    (router, route, endpoint)
}

/// `grpc.health.v1.Health/Check` of the whole.
fn check() -> Request<tonic::body::Body> {
    Request::post("/grpc.health.v1.Health/Check").body(body(vec![message(0)], false)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_until_an_endpoint_is_ready() {
    let (router, route, endpoint) = idle(|_| {});
    let calling = tokio::spawn(router.channel().call(check()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!calling.is_finished());
    route.set_availability(&endpoint, Availability::Ready);
    let response = calling.await.unwrap();
    assert_eq!(status(response).await.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn when_none_has_been_ready_for_long_calls_fail_at_once() {
    let (router, route, endpoint) = idle(|_| {});
    let took = async |router: &Router| {
        let begun = tokio::time::Instant::now();
        let status = status(router.channel().call(check()).await).await;
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "the plugin demo has no ready instance: demo-0 is starting");
        begun.elapsed().as_millis() / 100
    };
    assert_eq!(took(&router).await, 30);
    assert_eq!(took(&router).await, 0);
    route.set_availability(&endpoint, Availability::Ready);
    assert_eq!(status(router.channel().call(check()).await).await.code(), Code::Ok);
    route.set_availability(&endpoint, Availability::Starting);
    assert_eq!(took(&router).await, 30, "the time begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait() {
    let (router, _, _) = idle(|_| {});
    let mut request = check();
    request.headers_mut().insert("grpc-timeout", "1S".parse().unwrap());
    let begun = tokio::time::Instant::now();
    let status = status(router.channel().call(request).await).await;
    assert_eq!((status.code(), begun.elapsed().as_secs()), (Code::DeadlineExceeded, 1));
    let said = "the caller's deadline passed before the call was sent: the plugin demo has no ready instance: demo-0 \
                is starting";
    assert_eq!(status.message(), said);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_bounded_and_leave_no_trace() {
    let (router, route, _) = idle(|_| {});
    let mut calls: Vec<_> =
        (0..crate::route::wait::MAX_WAITING).map(|_| router.channel().call(check())).collect();
    for call in &mut calls {
        assert!(futures_util::poll!(call).is_pending());
    }
    let one_too_many = status(router.channel().call(check()).await).await;
    assert_eq!(one_too_many.code(), Code::ResourceExhausted);
    drop(calls);
    assert_eq!(route.waiting().count(), 0);
    assert_eq!(router.replay_memory().used(), 0);
}
