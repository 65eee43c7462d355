//! What a call is sent through.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::in_process::InProcessCall;
use super::send::Http2Call;
use super::{CallError, InProcess, Pool, ResponseBody, Stream};
use crate::BoxError;

/// What a call is sent through. The seam behind which another transport can be added.
#[derive(Clone, Debug)]
pub enum Lane {
    /// HTTP/2 connections.
    Http2(Pool),
    /// Services in this process.
    InProcess(Arc<InProcess>),
}

/// A way to send one request now.
#[derive(Debug)]
pub enum Slot {
    /// A place on a connection.
    Http2(Stream),
    /// Services in this process.
    InProcess(Arc<InProcess>),
}

impl Lane {
    /// The way to send one request now; `None` when there is no connection.
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Http2(pool) => pool.stream().map(Slot::Http2),
            Self::InProcess(service) => Some(Slot::InProcess(service.clone())),
        }
    }
}

impl Lane {
    /// Connects again when no connection takes calls. Whether there is one now.
    pub async fn reconnect(&self) -> bool {
        match self {
            Self::Http2(pool) => pool.connect(None).await.is_ok(),
            Self::InProcess(_) => true,
        }
    }
}

impl Slot {
    /// Sends one request: its head at once, where HTTP/2 carries it, and the rest as the future is polled.
    pub fn send<B>(self, request: Request<B>) -> Sending<B>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let way = match self {
            Self::Http2(stream) => Http2Call::begin(stream, request).map(Way::Http2),
            Self::InProcess(services) => services.call(request).map(Way::InProcess),
        };
        Sending(way.unwrap_or_else(|error| Way::Failed(Some(error))))
    }
}

/// A request under way: a future of its response's head, or of the reason why there is none. Dropping it cancels the
/// call, and the peer is told.
#[derive(Debug)]
#[must_use = "a request is sent as its future is polled"]
pub struct Sending<B>(Way<B>);

#[derive(Debug)]
enum Way<B> {
    Http2(Http2Call<B>),
    InProcess(InProcessCall),
    /// Nothing was sent. Empty after the reason was given.
    Failed(Option<CallError>),
}

impl<B> Future for Sending<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Way::Http2(call) => Pin::new(call).poll(cx),
            Way::InProcess(call) => Pin::new(call).poll(cx).map(Ok),
            Way::Failed(error) => Poll::Ready(Err(error.take().unwrap_or(CallError::NotConnected))),
        }
    }
}
