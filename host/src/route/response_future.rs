//! A call until its response begins.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

use super::call::{Call, CallBody, GRPC_STATUS, Outcome};
use super::plugin_route::Picked;
use super::{MessageMeter, Route, RouteError, reserved};
use crate::BoxError;
use crate::transport::{ResponseBody, Sending};

/// A call of a [`Channel`](super::Channel) until its response begins. Dropping it cancels the call at the plugin.
///
/// Written by hand: every call has one, and what the compiler makes of an `async` block is several times as
/// large, and is copied as it is made.
#[must_use = "a call goes on as its future is polled"]
pub struct ResponseFuture<B>(State<B>);

enum State<B> {
    Sent(Sent<B>),
    /// Rare and larger.
    Reconnecting(Pin<Box<dyn Future<Output = Result<Sent<B>, Status>> + Send>>),
    /// Empty after the status was given.
    Failed(Option<Status>),
}

struct Sent<B> {
    sending: Sending<Metered<B>>,
    /// Gone when the response has begun.
    call: Option<Call>,
    max_message: u64,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> ResponseFuture<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn sent(
        picked: Picked,
        request: Request<B>,
        max_message: u64,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        Self(State::Sent(Sent::new(picked, request, max_message, deadline)))
    }

    /// Sent when there is a connection again; `why` tells which there is not now.
    pub(super) fn reconnecting(
        route: Arc<Route>,
        pinned: Option<String>,
        why: RouteError,
        request: Request<B>,
        mut deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        Self(State::Reconnecting(Box::pin(async move {
            let reconnected = route.reconnect(pinned.as_deref());
            match &mut deadline {
                None => reconnected.await,
                Some(deadline) => tokio::select! {
                    biased;
                    () = reconnected => {}
                    () = deadline => return Err(why.at_the_deadline().into()),
                },
            }
            let picked = route.pick(pinned.as_deref())?;
            Ok(Sent::new(picked, request, route.max_message(), deadline))
        })))
    }

    pub(super) fn failed(error: RouteError) -> Self {
        Self(State::Failed(Some(error.into())))
    }
}

impl<B> Future for ResponseFuture<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<CallBody>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        if let State::Reconnecting(reconnecting) = state {
            *state = match ready!(reconnecting.as_mut().poll(cx)) {
                Ok(sent) => State::Sent(sent),
                Err(status) => State::Failed(Some(status)),
            };
        }
        match state {
            State::Sent(sent) => sent.poll(cx),
            State::Failed(status) => Poll::Ready(Err(status.take().unwrap_or_else(over))),
            State::Reconnecting(_) => Poll::Pending,
        }
    }
}

/// For who polls again what has given its response.
fn over() -> Status {
    Status::cancelled("the call is over")
}

impl<B> Sent<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn new(picked: Picked, request: Request<B>, max_message: u64, deadline: Option<Pin<Box<Sleep>>>) -> Self {
        let request = request.map(|body| Metered { body, meter: MessageMeter::new(max_message) });
        Self { sending: picked.slot.send(request), call: Some(picked.call), max_message, deadline }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<CallBody>, Status>> {
        let answer = match Pin::new(&mut self.sending).poll(cx) {
            Poll::Ready(answer) => Some(answer),
            // An answer that is there counts even when time is up as well.
            Poll::Pending => {
                let deadline = self.deadline.as_mut().map(|deadline| deadline.as_mut().poll(cx));
                match deadline {
                    Some(Poll::Ready(())) => None,
                    Some(Poll::Pending) | None => return Poll::Pending,
                }
            }
        };
        let Some(mut call) = self.call.take() else { return Poll::Ready(Err(over())) };
        Poll::Ready(match answer {
            Some(Ok(response)) => self.begin(response, call),
            Some(Err(error)) => {
                let (status, outcome) = RouteError::call_with_outcome(call.endpoint(), error);
                call.end(outcome);
                Err(status)
            }
            None => {
                call.end(Outcome::Failed);
                Err(RouteError::deadline(call.endpoint()).into())
            }
        })
    }

    fn begin(
        &mut self,
        response: Response<ResponseBody>,
        mut call: Call,
    ) -> Result<Response<CallBody>, Status> {
        let (mut head, body) = response.into_parts();
        reserved::strip(&mut head.headers, &[]);
        if !is_grpc(&head) {
            call.end(Outcome::Failed);
            let content_type = head.headers.get(CONTENT_TYPE);
            return Err(RouteError::not_grpc(call.endpoint(), head.status, content_type).into());
        }
        let body = CallBody::new(&head.headers, body, call, self.max_message, self.deadline.take());
        Ok(Response::from_parts(head, body))
    }
}

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Sent(_) => "ResponseFuture(sent)",
            State::Reconnecting(_) => "ResponseFuture(reconnecting)",
            State::Failed(_) => "ResponseFuture(failed)",
        })
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
