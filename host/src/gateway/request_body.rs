//! What a caller sends, on its way upstream.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// The body of a call that came in at the gateway.
///
/// The caller's HTTP/2 window opens as frames are taken, so flow control reaches from end to end. When the
/// call is over before the caller has finished sending, the body ends with `CANCELLED`.
pub struct RequestBody(Inner);

enum Inner {
    /// Nothing (more) to come.
    Done,
    /// All of it came with the request: the common case, which needs nothing shared with the call.
    Whole(Bytes),
    /// More may come.
    Streaming(Streaming),
}

struct Streaming {
    recv: RecvStream,
    /// What came with the request.
    first: Option<Bytes>,
    link: Arc<Link>,
}

/// Ties a request under way to its call.
///
/// Upstream may hold the body in a task of its own, so neither side can simply drop the other.
#[derive(Default)]
pub(super) struct Link {
    /// The call is over: let go of the stream.
    over: AtomicBool,
    /// Wakes who reads the body.
    reader: AtomicWaker,
}

/// Ends the request when the call ends, however it ends.
pub(super) struct EndsRequest(pub(super) Arc<Link>);

impl RequestBody {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self(Inner::Done)
    }

    pub(super) fn streaming(recv: RecvStream, first: Option<Bytes>, link: Arc<Link>) -> Self {
        Self(Inner::Streaming(Streaming { recv, first, link }))
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Inner::Done } else { Inner::Whole(bytes) })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = match &mut self.0 {
            Inner::Done => return Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Streaming(streaming) => streaming.poll_frame(cx),
        };
        let last = match &polled {
            Poll::Pending => false,
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || matches!(self.0, Inner::Whole(_)),
        };
        if last {
            self.0 = Inner::Done;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Done => true,
            Inner::Whole(_) => false,
            Inner::Streaming(streaming) => streaming.first.is_none() && streaming.recv.is_end_stream(),
        }
    }

    /// Never exact: a client that sees an exact size adds `content-length`, which the caller did not send.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Streaming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if self.link.over.load(Ordering::Acquire) {
                return Poll::Ready(Some(Err(Status::cancelled("the call is over"))));
            }
            let data = match self.first.take() {
                Some(first) => first,
                None => match self.recv.poll_data(cx) {
                    Poll::Ready(Some(Ok(data))) => data,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(broken(&error)))),
                    Poll::Ready(None) => return self.poll_trailers(cx),
                    Poll::Pending => {
                        self.link.reader.register(cx.waker());
                        // The call may have ended between the check above and the registration.
                        if self.link.over.load(Ordering::Acquire) {
                            continue;
                        }
                        return Poll::Pending;
                    }
                },
            };
            // Refused only for a stream that is gone, where no window matters any more.
            let _ = self.recv.flow_control().release_capacity(data.len());
            if data.is_empty() {
                continue;
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.recv.poll_trailers(cx) {
            Poll::Ready(Ok(Some(trailers))) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Poll::Ready(Ok(None)) => Poll::Ready(None),
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(broken(&error)))),
            Poll::Pending => {
                self.link.reader.register(cx.waker());
                Poll::Pending
            }
        }
    }
}

fn broken(error: &h2::Error) -> Status {
    Status::cancelled(format!("the caller ended the call: {error}"))
}

impl Drop for EndsRequest {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        self.0.reader.wake();
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Done => "RequestBody(done)",
            Inner::Whole(_) => "RequestBody(whole)",
            Inner::Streaming(_) => "RequestBody(streaming)",
        })
    }
}
