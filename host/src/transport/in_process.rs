//! A tower service in place of a connection.

use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use super::{CallError, ResponseBody};
use crate::BoxError;

type Inner = BoxCloneSyncService<Request<tonic::body::Body>, Response<tonic::body::Body>, Infallible>;

/// A gRPC service inside this process: calls to it skip HTTP/2.
#[derive(Clone)]
pub struct InProcess(Inner);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl InProcess {
    /// Takes a generated tonic server, or anything that behaves like one.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<tonic::body::Body>, Response = Response<tonic::body::Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self(BoxCloneSyncService::new(service))
    }

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
