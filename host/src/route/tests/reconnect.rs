//! Calls for which there is no connection now.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_call_that_waits_for_a_connection() {
    // Connections come up on a runtime that nobody drives: this one never does.
    let stands_still = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dialer = Dialer::plain(Address::unix("/nowhere"));
    let handle = stands_still.handle().clone();
    let pool = Pool::new(dialer, 1, Settings::default(), handle, TaskTracker::new());
    let lane = Lane::Http2(pool);
    let endpoint =
        Endpoint::new(InstanceName::new(name(), 0), InstanceId::random(), 1, lane, &Policy::default());
    let router = router(&[endpoint], 1000);
    let mut request = request(body(vec![message(100)], false));
    request.headers_mut().insert("grpc-timeout", "2S".parse().unwrap());
    let begun = tokio::time::Instant::now();
    let status = status(call(&router, request).await).await;
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.message(),
        "the caller's deadline passed before the call was sent: instance demo-0 of plugin demo has no open \
         connection; the host is opening one, try again"
    );
    stands_still.shutdown_background();
}
