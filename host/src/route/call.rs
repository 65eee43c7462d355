//! A call that is on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{Code, Status};

use super::{Endpoint, MessageMeter, RouteError};
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

/// Counts a call on its endpoint until it is dropped. A call of which nothing else is known was cancelled.
#[derive(Debug)]
pub(super) struct Call {
    endpoint: Arc<Endpoint>,
    outcome: Outcome,
}

impl Call {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, outcome: Outcome::Cancelled }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.endpoint.end(self.outcome);
    }
}

/// Body of a response to a call. The call ends with it: at the trailers, at an error, or when it is dropped.
#[derive(Debug)]
pub struct CallBody {
    body: ResponseBody,
    endpoint: Arc<Endpoint>,
    call: Option<Call>,
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
        call: Call,
        max_message: u64,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        let mut this = Self::uncounted(body, &call.endpoint, max_message);
        this.call = Some(call);
        this.deadline = deadline;
        // A "trailers-only" response has its status up here.
        if let Some(outcome) = Outcome::of_trailers(headers) {
            this.has_status = true;
            this.end(outcome);
        }
        this
    }

    pub(super) fn uncounted(body: ResponseBody, endpoint: &Arc<Endpoint>, max_message: u64) -> Self {
        let meter = MessageMeter::new(max_message);
        Self {
            body,
            endpoint: endpoint.clone(),
            call: None,
            meter,
            deadline: None,
            has_status: false,
            ended: false,
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(call) = self.call.take() {
            call.end(outcome);
        }
    }

    /// The plugin says that all is well and has not sent all of a message: nothing that a caller could trust.
    fn cut_short(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.fail(RouteError::cut_short(&self.endpoint).into(), Outcome::Failed)
    }

    fn without_status(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.fail(RouteError::without_status(&self.endpoint).into(), Outcome::Failed)
    }

    fn fail(&mut self, status: Status, outcome: Outcome) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.end(outcome);
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
            return this.fail(RouteError::deadline(&this.endpoint).into(), Outcome::Failed);
        }
        let Poll::Ready(frame) = polled else { return Poll::Pending };
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if let Err(too_large) = this.meter.advance(data) {
                        let error = RouteError::response_too_large(&this.endpoint, too_large);
                        return this.fail(error.into(), Outcome::Served);
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    return match Outcome::of_trailers(trailers) {
                        Some(_) if this.meter.is_within_message() && is_ok(trailers) => this.cut_short(),
                        Some(outcome) => {
                            // Nothing comes after trailers.
                            this.ended = true;
                            this.end(outcome);
                            Poll::Ready(Some(Ok(frame)))
                        }
                        None if this.has_status => Poll::Ready(Some(Ok(frame))),
                        None => this.without_status(),
                    };
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(BodyError::Call(error))) => {
                let (status, outcome) = RouteError::call_with_outcome(&this.endpoint, error);
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
