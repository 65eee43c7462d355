//! One call from its arrival to the end of its response: counted, bounded by its deadline, and shielded, so
//! that a panic in a handler ends the call and nothing else.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

use super::{Answer, Boxed, Erased};
use crate::Call;
use crate::in_flight::Guard;

/// A call whose response has not begun.
pub(crate) struct Handling {
    answer: Option<Answer>,
    /// Given instead of an answer to come.
    refused: Option<Status>,
    around: Around,
}

/// A response that has not ended.
pub(crate) struct ResponseBody {
    body: Option<Body>,
    around: Around,
}

/// What goes along with a call from begin to end.
struct Around {
    call: Call,
    /// Made at the first wait: most handlers answer without one.
    alarm: Option<Pin<Box<Sleep>>>,
    _guard: Option<Guard>,
}

impl Handling {
    pub(super) fn start(service: &Boxed, request: Request<Body>, call: Call, guard: Option<Guard>) -> Self {
        let around = Around { call, alarm: None, _guard: guard };
        match around.shield(|| service.answer(request)) {
            Ok(answer) => Self { answer: Some(answer), refused: None, around },
            Err(status) => Self { answer: None, refused: Some(status), around },
        }
    }

    pub(super) fn refused(status: Status) -> Self {
        let around = Around { call: Call::default(), alarm: None, _guard: None };
        Self { answer: None, refused: Some(status), around }
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Response<Body>> {
        if let Some(status) = self.refused.take() {
            return Poll::Ready(status.into_http());
        }
        let Some(answer) = &mut self.answer else {
            return Poll::Pending;
        };
        let status = match self.around.shield(|| answer.as_mut().poll(context)) {
            Ok(Poll::Ready(Ok(response))) => return Poll::Ready(response),
            Ok(Poll::Pending) => match self.around.poll_deadline(context) {
                Poll::Ready(status) => status,
                Poll::Pending => return Poll::Pending,
            },
            Err(status) => status,
        };
        // Ends the handler now, with what it holds, and not when the response is gone.
        self.answer = None;
        Poll::Ready(status.into_http())
    }
}

impl Future for Handling {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.poll_answer(context).map(|response| {
            this.answer = None;
            let around = std::mem::replace(
                &mut this.around,
                Around { call: Call::default(), alarm: None, _guard: None },
            );
            Ok(response.map(|body| ResponseBody { body: Some(body), around }))
        })
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let status = match this.around.shield(|| Pin::new(body).poll_frame(context)) {
            Ok(Poll::Ready(frame)) => return Poll::Ready(frame),
            Ok(Poll::Pending) => match this.around.poll_deadline(context) {
                Poll::Ready(status) => status,
                Poll::Pending => return Poll::Pending,
            },
            Err(status) => status,
        };
        this.body = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

impl Around {
    /// Runs a part of the handler as a part of its call.
    fn shield<T>(&self, work: impl FnOnce() -> T) -> Result<T, Status> {
        // What a handler leaves broken behind is its own, and is dropped after a panic.
        catch_unwind(AssertUnwindSafe(|| self.call.within(work))).map_err(|panic| panicked(&*panic))
    }

    /// Ready when the caller has stopped waiting.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let Some(deadline) = self.call.expires() else {
            return Poll::Pending;
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        alarm.as_mut().poll(context).map(|()| {
            debug_assert!(Instant::now() >= deadline);
            Status::deadline_exceeded("the plugin's handler ran out of the caller's time")
        })
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Status {
    if !crate::logging::logs_panics() {
        tracing::error!(panic = crate::logging::panic_text(panic), "a handler panicked");
    }
    // Without the text, which may hold what is not the caller's.
    Status::internal("the plugin's handler panicked; its log says where")
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("13"));
    }
    trailers
}
