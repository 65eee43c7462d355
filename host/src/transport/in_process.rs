//! A tower service in place of a connection.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::ResponseBody;
use crate::BoxError;

type Answering = Pin<Box<dyn Future<Output = Response<tonic::body::Body>> + Send>>;

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
        Box::pin(async move {
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            let answer = match ready {
                Ok(()) => service.call(request).await,
                Err(never) => match never {},
            };
            answer.unwrap_or_else(|never| match never {})
        })
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

    /// The one that answers calls to `path`.
    pub(super) fn service(&self, path: &str) -> Option<Called> {
        let (_, service) = self.0.iter().find(|(name, _)| {
            path.strip_prefix('/')
                .and_then(|path| path.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('/'))
        })?;
        Some(Called(service.clone()))
    }
}

/// One service, for one call.
pub(super) struct Called(Arc<dyn Answers>);

impl Called {
    pub(super) async fn send<B>(self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.0.answer(request.map(tonic::body::Body::new)).await.map(ResponseBody::in_process)
    }
}
