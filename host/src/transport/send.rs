//! One request over one connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::{HeaderMap, Request, Response, Uri, Version};
use http_body::Body;

use super::{CallError, ResponseBody, Stream, StreamError};
use crate::BoxError;

/// A request under way, until the head of its response. Dropping it resets the stream.
///
/// Written by hand: the compiler would keep the whole request in the future, long after it is sent.
#[derive(Debug)]
pub(super) struct Http2Call<B> {
    response: ResponseFuture,
    /// Gone when the response has begun.
    request: Option<(Upload<B>, Stream)>,
}

impl<B> Http2Call<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends the head; what the body gives follows as the call is polled.
    pub(super) fn begin(mut stream: Stream, request: Request<B>) -> Result<Self, CallError> {
        let (mut head, body) = request.into_parts();
        head.uri = absolute(&stream, head.uri);
        head.version = Version::HTTP_2;
        let ended = body.is_end_stream();
        let (response, sink) = stream
            .sender
            .send_request(Request::from_parts(head, ()), ended)
            // Whatever the reason, no frame was sent: another connection may do better.
            .map_err(|_| CallError::NotConnected)?;
        Ok(Self { response, request: Some((Upload::new(body, sink, ended), stream)) })
    }
}

impl<B> Future for Http2Call<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // The request goes first: most are sent whole before the first wait.
        if let Some((upload, _)) = &mut this.request
            && let Poll::Ready(Err(error)) = upload.poll(cx)
        {
            upload.sink.send_reset(h2::Reason::CANCEL);
            return Poll::Ready(Err(error));
        }
        let response = ready!(Pin::new(&mut this.response).poll(cx)).map_err(StreamError::from)?;
        let Some((upload, mut stream)) = this.request.take() else {
            return Poll::Ready(Err(CallError::NotConnected));
        };
        stream.answered();
        let (head, recv) = response.into_parts();
        // Only now, with the response begun and the request not over, does the call need a task of its own:
        // the caller may read the response later than it wants the request sent.
        let pump = (!upload.done).then(|| Pump::spawn(upload));
        Poll::Ready(Ok(Response::from_parts(head, ResponseBody::http2(recv, pump, stream))))
    }
}

/// HTTP/2 wants scheme and authority, a generated client gives a path only.
fn absolute(stream: &Stream, uri: Uri) -> Uri {
    let (scheme, authority) = stream.origin();
    let mut parts = uri.into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    Uri::from_parts(parts).unwrap_or_default()
}

/// Moves a request body into its stream, one frame behind what it reads, so that the last data frame can
/// carry the end of the stream instead of an empty one after it.
#[derive(Debug)]
struct Upload<B> {
    body: B,
    sink: SendStream<Bytes>,
    held: Option<Bytes>,
    /// Whether any data has gone into the stream.
    begun: bool,
    done: bool,
}

enum Next {
    Data(Bytes),
    End(Option<HeaderMap>),
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn new(body: B, sink: SendStream<Bytes>, done: bool) -> Self {
        Self { body, sink, held: None, begun: false, done }
    }

    /// Ready when nothing is left to send. An error is the request's own: those of the stream show in the
    /// response.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        while !self.done {
            // The body is read only when what it gave before can leave: this is the back pressure. The first
            // data does not wait: a new stream has no window before the connection's task has opened it, and
            // a unary request that waited for that would leave as two writes, with a switch to that task and
            // back between them.
            if self.begun
                && self.held.as_ref().is_some_and(|data| !data.is_empty())
                && ready!(self.poll_window(cx)).is_err()
            {
                break;
            }
            match self.poll_body(cx) {
                Poll::Ready(Ok(Next::Data(data))) => {
                    if let Some(before) = self.held.replace(data) {
                        self.send(before, false);
                    }
                }
                Poll::Ready(Ok(Next::End(trailers))) => {
                    self.finish(trailers);
                    break;
                }
                Poll::Ready(Err(error)) => {
                    self.done = true;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    // What is held must not wait for what may never come.
                    if let Some(data) = self.held.take() {
                        self.send(data, false);
                    }
                    return Poll::Pending;
                }
            }
        }
        self.done = true;
        Poll::Ready(Ok(()))
    }

    /// Ready when the stream takes bytes, an error when it never will again.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.sink.reserve_capacity(1);
        while self.sink.capacity() == 0 {
            match ready!(self.sink.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, CallError>> {
        let next = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => Next::End(None),
            Some(Err(error)) => {
                return Poll::Ready(Err(CallError::Request(error.into())));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Next::Data(data),
                Err(frame) => Next::End(frame.into_trailers().ok()),
            },
        };
        Poll::Ready(Ok(next))
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) {
        match (self.held.take(), trailers) {
            (data, None) => self.send(data.unwrap_or_default(), true),
            (data, Some(trailers)) => {
                if let Some(data) = data {
                    self.send(data, false);
                }
                let _ = self.sink.send_trailers(trailers);
            }
        }
    }

    /// A stream that takes nothing any more has been reset, which the response tells.
    fn send(&mut self, data: Bytes, end: bool) {
        self.begun = true;
        let _ = self.sink.send_data(data, end);
    }
}

/// The task that goes on sending a request whose response has begun. Ends when dropped.
#[derive(Debug)]
pub(super) struct Pump {
    task: tokio::task::AbortHandle,
    failure: Arc<Mutex<Option<CallError>>>,
}

impl Pump {
    fn spawn<B>(mut upload: Upload<B>) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let failure = Arc::new(Mutex::new(None));
        let told = failure.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = std::future::poll_fn(|cx| upload.poll(cx)).await {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                // Only now: whoever reads the response must find the reason when the stream ends.
                upload.sink.send_reset(h2::Reason::CANCEL);
            }
        });
        Self { task: task.abort_handle(), failure }
    }

    /// Why the request failed, if it did.
    pub(super) fn failure(&self) -> Option<CallError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}
