//! A tower service in place of a connection.

use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tonic::server::NamedService;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use super::{CallError, ResponseBody};
use crate::BoxError;

type Inner = BoxCloneSyncService<Request<tonic::body::Body>, Response<tonic::body::Body>, Infallible>;

/// gRPC services inside this process: calls to them skip HTTP/2.
#[derive(Clone, Default)]
pub struct InProcess(Vec<(&'static str, Inner)>);

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
        self.0.push((S::NAME, BoxCloneSyncService::new(service)));
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
pub(super) struct Called(Inner);

impl Called {
    pub(super) async fn send<B>(self, request: Request<B>) -> Result<Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match self.0.oneshot(request.map(tonic::body::Body::new)).await {
            Ok(response) => Ok(response.map(ResponseBody::in_process)),
            Err(never) => match never {},
        }
    }
}
