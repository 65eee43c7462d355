//! The service that sends any gRPC call where it belongs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use plugmesh::metadata;
use tonic::Status;

use super::call::{CallBody, GRPC_STATUS, Outcome};
use super::{MessageMeter, RouteError, Router, timeout};
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

    async fn send<B>(router: Router, request: Request<B>) -> Result<Response<CallBody>, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service(request.uri().path())?;
        let headers = request.headers();
        let Wishes { plugin, instance: pinned, timeout } = Wishes::of(headers);
        let route = router.find(service, plugin)?;
        let (endpoint, slot, call) = match route.pick(pinned) {
            Err(error) if error.is_not_connected() => {
                route.reconnect(pinned).await;
                route.pick(pinned)?
            }
            picked => picked?,
        };
        let max_message = route.max_message();
        let request = request.map(|body| Metered { body, meter: MessageMeter::new(max_message) });
        let (result, deadline) = match timeout {
            // Made where it is awaited, in both arms: a future in a variable is kept twice, and copied.
            None => (slot.send(request).await, None),
            Some(timeout) => {
                let mut deadline = Box::pin(tokio::time::sleep(timeout));
                tokio::select! {
                    // An answer that is there counts even when time is up as well.
                    biased;
                    result = slot.send(request) => (result, Some(deadline)),
                    () = &mut deadline => {
                        call.end(Outcome::Failed);
                        return Err(RouteError::deadline(&endpoint).into());
                    }
                }
            }
        };
        match result {
            Ok(response) => {
                let (head, body) = response.into_parts();
                if !is_grpc(&head) {
                    call.end(Outcome::Failed);
                    let content_type = head.headers.get(CONTENT_TYPE);
                    return Err(RouteError::not_grpc(&endpoint, head.status, content_type).into());
                }
                let body = CallBody::new(&head.headers, body, call, max_message, deadline);
                Ok(Response::from_parts(head, body))
            }
            Err(error) => {
                let (status, outcome) = RouteError::call_with_outcome(&endpoint, error);
                call.end(outcome);
                Err(status)
            }
        }
    }
}

impl<B> tower_service::Service<Request<B>> for Channel
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<CallBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(Self::send(self.router.clone(), request))
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

/// Whether the head begins a gRPC response. Whoever gives a status of gRPC is believed; without a content-type
/// the frames decide.
fn is_grpc(head: &http::response::Parts) -> bool {
    let is_content = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    let content_type = head.headers.get(CONTENT_TYPE);
    (head.status == StatusCode::OK && content_type.is_none_or(is_content))
        || head.headers.contains_key(&GRPC_STATUS)
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

/// A request body whose messages are measured as they pass.
struct Metered<B> {
    body: B,
    meter: MessageMeter,
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        Pin::new(&mut this.body).poll_frame(cx).map(|frame| {
            frame.map(|frame| {
                let frame = frame.map_err(Into::into)?;
                if let Some(data) = frame.data_ref() {
                    this.meter.advance(data)?;
                }
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
