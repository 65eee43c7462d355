//! A tower service in place of a connection.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tonic::server::NamedService;
use tower::ServiceExt;
use tower_service::Service;

use super::{CallError, ResponseBody};
use crate::BoxError;

type Answering = Pin<Box<dyn Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Send>>;

/// A service that any number of calls share. Unlike tower's boxes it costs one allocation for a call.
trait Answers: Send + Sync {
    fn answer(&self, request: Request<tonic::body::Body>) -> Answering;
}

impl<S> Answers for S
where
    S: Service<Request<tonic::body::Body>, Response = Response<tonic::body::Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    fn answer(&self, request: Request<tonic::body::Body>) -> Answering {
        let mut service = self.clone();
        // What tonic generates is always ready, and then the request need not be kept.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Box::pin(service.call(request)),
            Poll::Ready(Err(never)) => match never {},
            Poll::Pending => Box::pin(service.oneshot(request)),
        }
    }
}

/// gRPC services inside this process: calls to them skip HTTP/2.
#[derive(Clone, Default)]
pub struct InProcess(Vec<(&'static str, Arc<dyn Answers>)>);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl InProcess {
    /// These services and one more: a generated tonic server, or anything that behaves like one. A service of
    /// the same name is replaced.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<tonic::body::Body>, Response = Response<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.0.retain(|(name, _)| *name != S::NAME);
        self.0.push((S::NAME, Arc::new(service)));
        self
    }

    /// Fully qualified names of the services.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has a request answered by the service that its path names.
    pub(super) fn call<B>(&self, request: Request<B>) -> Result<InProcessCall, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let path = request.uri().path().strip_prefix('/').unwrap_or_default();
        let mut services = self.0.iter();
        let found =
            services.find(|(name, _)| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')));
        let (_, service) = found.ok_or(CallError::NotConnected)?;
        Ok(InProcessCall(service.answer(request.map(tonic::body::Body::new))))
    }
}

/// A call that a service answers.
pub(super) struct InProcessCall(Answering);

impl Future for InProcessCall {
    type Output = Response<ResponseBody>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.as_mut().poll(cx).map(|answer| match answer {
            Ok(response) => response.map(ResponseBody::in_process),
            Err(never) => match never {},
        })
    }
}

impl fmt::Debug for InProcessCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessCall").finish_non_exhaustive()
    }
}
