//! Metadata of the request that comes back, in front of and behind the answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::load::PER_CALL;

const INITIAL: &str = "x-grpc-test-echo-initial";
const TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// Adds what the request asked for to the answers of a service. A tonic handler that succeeds has no say in its
/// trailers: what it puts in its metadata for them is moved.
#[derive(Clone)]
pub(crate) struct Echo<S>(pub(crate) S);

impl<S: NamedService> NamedService for Echo<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Echo<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let initial = request.headers().get(INITIAL).cloned();
        let trailing = request.headers().get(TRAILING).cloned();
        let answering = self.0.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            let mut trailers = HeaderMap::new();
            trailers.extend(trailing.map(|value| (HeaderName::from_static(TRAILING), value)));
            let load = response.headers_mut().remove(PER_CALL);
            trailers.extend(load.map(|value| (HeaderName::from_static(PER_CALL), value)));
            response.headers_mut().extend(initial.map(|value| (HeaderName::from_static(INITIAL), value)));
            Ok(response.map(|body| Body::new(body.map_frame(move |frame| with(frame, &trailers)))))
        })
    }
}

fn with<D>(frame: Frame<D>, more: &HeaderMap) -> Frame<D> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            trailers.extend(more.clone());
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
