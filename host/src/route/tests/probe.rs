//! Calls that find out whether an endpoint has become sound again.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use super::*;
use crate::transport::InProcess;

/// Refuses all calls, or answers each with a stream that never ends.
#[derive(Clone, Default)]
struct Demo {
    is_sound: Arc<AtomicBool>,
}

impl tonic::server::NamedService for Demo {
    const NAME: &'static str = "demo.v1.Demo";
}

impl Service<Request<tonic::body::Body>> for Demo {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<tonic::body::Body>) -> Self::Future {
        let is_sound = self.is_sound.load(Ordering::Relaxed);
        let mut response = head().map(|()| body(vec![], is_sound));
        if !is_sound {
            response.headers_mut().insert("grpc-status", (Code::Unavailable as i32).into());
        }
        std::future::ready(Ok(response))
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_serves_only_endless_streams_is_trusted_again() {
    let demo = Demo::default();
    let lane = Lane::InProcess(Arc::new(InProcess::default().with(demo.clone())));
    let (name, id) = (InstanceName::new(name(), 0), InstanceId::random());
    let endpoint = Endpoint::new(name, id, 1, lane, &Policy::default());
    let router = router(std::slice::from_ref(&endpoint), 1 << 20);
    for _ in 0..7 {
        let answer = call(&router, request(body(vec![], false))).await;
        assert_eq!(status(answer).await.code(), Code::Unavailable);
    }
    assert!(!endpoint.is_trusted());
    demo.is_sound.store(true, Ordering::Relaxed);
    let mut streams = Vec::new();
    for _ in 0..2 {
        // Longer than the rest after failures, and than a probe may be out.
        tokio::time::advance(Duration::from_secs(11)).await;
        streams.push(call(&router, request(body(vec![], false))).await.unwrap());
        assert!(!endpoint.is_trusted());
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    streams.push(call(&router, request(body(vec![], false))).await.unwrap());
    assert!(endpoint.is_trusted());
    assert_eq!(endpoint.in_flight(), 3);
}
