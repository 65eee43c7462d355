//! The service that sends any gRPC call where it belongs.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body;
use plugmesh::metadata;
use tonic::Status;

use super::call::CallBody;
use super::response_future::ResponseFuture;
use super::{RouteError, Router, timeout};
use crate::BoxError;

// As header names, since a text is checked and folded to lower case each time it is looked up.
static PLUGIN: HeaderName = HeaderName::from_static(metadata::PLUGIN);
static INSTANCE: HeaderName = HeaderName::from_static(metadata::INSTANCE);

/// Sends gRPC calls into the mesh: give it to a generated client.
///
/// A call goes to the plugin that provides its service and there to one instance, by the plugin's policy.
/// Metadata `plugmesh-plugin` chooses among several plugins that provide the service, and
/// `plugmesh-instance` pins an instance by name or id. Cloning is cheap, and every clone is as good.
///
/// It is always ready. Dropping a call's future, or its response, cancels the call at the plugin.
#[derive(Clone, Debug)]
pub struct Channel {
    router: Router,
}

impl Channel {
    pub(super) fn new(router: Router) -> Self {
        Self { router }
    }

    fn send<B>(&self, request: Request<B>) -> Result<ResponseFuture<B>, RouteError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service(request.uri().path())?;
        let Wishes { plugin, instance: pinned, timeout } = Wishes::of(request.headers());
        let route = self.router.find(service, plugin)?;
        let deadline = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        let picked = match route.pick(pinned) {
            Err(why) if why.is_not_connected() => {
                let pinned = pinned.map(str::to_owned);
                return Ok(ResponseFuture::reconnecting(route, pinned, why, request, deadline));
            }
            picked => picked?,
        };
        Ok(ResponseFuture::sent(picked, request, route.max_message(), deadline))
    }
}

impl<B> tower_service::Service<Request<B>> for Channel
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<CallBody>;
    type Error = Status;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.send(request).unwrap_or_else(ResponseFuture::failed)
    }
}

/// `package.Service` of `/package.Service/Method`.
fn service(path: &str) -> Result<&str, RouteError> {
    let (service, method) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).unwrap_or_default();
    match service.is_empty() || method.is_empty() {
        true => Err(RouteError::malformed_path(path)),
        false => Ok(service),
    }
}

/// What a caller says about its call.
#[derive(Default)]
struct Wishes<'a> {
    plugin: Option<&'a str>,
    instance: Option<&'a str>,
    timeout: Option<Duration>,
}

impl<'a> Wishes<'a> {
    /// Goes over the headers once: a call has few, and each look into the map would cost a hash of the name. Of
    /// several values the first counts.
    fn of(headers: &'a HeaderMap) -> Self {
        let mut wishes = Self::default();
        for (name, value) in headers {
            if *name == PLUGIN {
                wishes.plugin = wishes.plugin.or(value.to_str().ok());
            } else if *name == INSTANCE {
                wishes.instance = wishes.instance.or(value.to_str().ok());
            } else if *name == timeout::HEADER {
                wishes.timeout = wishes.timeout.or_else(|| timeout::parse(value));
            }
        }
        wishes
    }
}
