//! A call that is on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{Code, Status};

use super::{Endpoint, MessageMeter, RouteError, reserved};
use crate::transport::{BodyError, ResponseBody};

pub(super) static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How a call ended, as far as the endpoint is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The endpoint did its work, whatever the application made of it.
    Served,
    /// The endpoint, or the connection to it, failed.
    Failed,
    /// The caller went away first.
    Cancelled,
}

impl Outcome {
    /// The codes that blame the server: those that OpenTelemetry's RPC conventions count as server errors.
    pub(super) fn of(code: Code) -> Self {
        match code {
            Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss => {
                Self::Failed
            }
            _ => Self::Served,
        }
    }

    fn of_trailers(trailers: &HeaderMap) -> Option<Self> {
        trailers.get(&GRPC_STATUS).map(|status| Self::of(Code::from_bytes(status.as_bytes())))
    }
}

fn is_ok(trailers: &HeaderMap) -> bool {
    trailers.get(&GRPC_STATUS).is_some_and(|status| status == "0")
}

/// A call on its endpoint, counted there until it ends. One that is dropped before was cancelled.
#[derive(Debug)]
pub(super) struct Call {
    endpoint: Arc<Endpoint>,
    counted: bool,
}

impl Call {
    /// A call that the endpoint counts.
    pub(super) fn counted(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, counted: true }
    }

    /// A call that the endpoint knows nothing of.
    pub(super) fn uncounted(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, counted: false }
    }

    /// Where it goes.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Takes note of its end. Only the first counts.
    pub(super) fn end(&mut self, outcome: Outcome) {
        if std::mem::take(&mut self.counted) {
            self.endpoint.end(outcome);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}

/// Body of a response to a call. The call ends with it: at the trailers, at an error, or when it is dropped.
#[derive(Debug)]
pub struct CallBody {
    body: ResponseBody,
    call: Call,
    meter: MessageMeter,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the status came with the head.
    has_status: bool,
    ended: bool,
}

impl CallBody {
    pub(super) fn new(
        headers: &HeaderMap,
        body: ResponseBody,
        mut call: Call,
        max_message: u64,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        // A "trailers-only" response has its status up here.
        let outcome = Outcome::of_trailers(headers);
        if let Some(outcome) = outcome {
            call.end(outcome);
        }
        let meter = MessageMeter::new(max_message);
        Self { body, call, meter, deadline, has_status: outcome.is_some(), ended: false }
    }

    /// The plugin says that all is well and has not sent all of a message: nothing that a caller could trust.
    fn cut_short(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.fail(RouteError::cut_short(self.call.endpoint()).into(), Outcome::Failed)
    }

    fn without_status(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.fail(RouteError::without_status(self.call.endpoint()).into(), Outcome::Failed)
    }

    fn fail(&mut self, status: Status, outcome: Outcome) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.call.end(outcome);
        Poll::Ready(Some(Err(status)))
    }
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let polled = this.body.poll_next(cx);
        // Also while data flows: a stream without end must not outlive its deadline. What is there and ends the
        // call counts, even when time is up as well.
        let goes_on = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_data(),
            Poll::Ready(_) => false,
            Poll::Pending => true,
        };
        if goes_on && this.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            return this.fail(RouteError::deadline(this.call.endpoint()).into(), Outcome::Failed);
        }
        let Poll::Ready(frame) = polled else { return Poll::Pending };
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(data) = frame.data_ref() {
                    if let Err(too_large) = this.meter.advance(data) {
                        let error = RouteError::response_too_large(this.call.endpoint(), too_large);
                        return this.fail(error.into(), Outcome::Served);
                    }
                } else if let Some(trailers) = frame.trailers_mut() {
                    reserved::strip(trailers, &[]);
                    return match Outcome::of_trailers(trailers) {
                        Some(_) if this.meter.is_within_message() && is_ok(trailers) => this.cut_short(),
                        Some(outcome) => {
                            // Nothing comes after trailers.
                            this.ended = true;
                            this.call.end(outcome);
                            Poll::Ready(Some(Ok(frame)))
                        }
                        None if this.has_status => Poll::Ready(Some(Ok(frame))),
                        None => this.without_status(),
                    };
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(BodyError::Call(error))) => {
                let (status, outcome) = RouteError::call_with_outcome(this.call.endpoint(), error);
                this.fail(status, outcome)
            }
            Some(Err(BodyError::Status(status))) => {
                let outcome = Outcome::of(status.code());
                this.fail(status, outcome)
            }
            None if this.has_status => {
                this.ended = true;
                Poll::Ready(None)
            }
            None => this.without_status(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
