//! One attempt at a call: sent to one endpoint, until its response begins.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Sleep;
use tonic::{Code, Status};

use super::body::CallBody;
use super::call::{Call, LiveBody};
use super::errand::Replay;
use super::outcome::{Outcome, Pushback, Said};
use super::plugin_route::Picked;
use super::record::Record;
use super::{Endpoint, RouteError};
use crate::BoxError;
use crate::transport::{CallError, ResponseBody, Sending};

/// A request under way to one endpoint. Dropping it cancels the attempt there.
#[derive(Debug)]
pub(super) struct Attempt<B> {
    stage: Stage<B>,
    call: Call,
}

/// What is large stays where it is until somebody wants it: each move of it would cost every call.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are sent and answered, and few are kept for long")]
enum Stage<B> {
    Sent(Sending<Replay<B>>),
    /// With its status, if it is nothing else.
    Answered(Response<ResponseBody>, Option<Outcome>),
    Over,
}

/// A response that has begun.
pub(super) struct Answer {
    response: Response<ResponseBody>,
    status: Option<Outcome>,
    call: Call,
}

/// An attempt that gave no response.
pub(super) struct Failure {
    pub(super) status: Status,
    /// Nothing of the request has reached the plugin's code: making it again cannot do it twice.
    pub(super) is_unprocessed: bool,
    /// Trying again makes no sense: it is the request that is no good.
    pub(super) is_callers: bool,
}

impl<B> Attempt<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends the head at once, the rest as it is polled.
    pub(super) fn begin(mut picked: Picked, mut request: Request<Replay<B>>) -> Self {
        picked.call.trace(&mut request);
        Self { stage: Stage::Sent(picked.slot.send(request)), call: picked.call }
    }

    /// Where it went.
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.call.endpoint()
    }

    /// Ends it with a status of the host's own.
    pub(super) fn give_up(&mut self, code: Code) {
        self.call.end(Outcome::Status(code));
        self.stage = Stage::Over;
    }

    /// Ready when it has been answered, or has failed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Stage::Sent(sending) = &mut self.stage else { return Poll::Ready(Err(Failure::over())) };
        let failure = match ready!(Pin::new(sending).poll(cx)) {
            Ok(mut response) => {
                let Said { status, is_grpc } = Said::read(response.headers_mut());
                // Whoever gives a status of gRPC is believed.
                if status.is_some() || (is_grpc && response.status() == StatusCode::OK) {
                    self.stage = Stage::Answered(response, status);
                    return Poll::Ready(Ok(()));
                }
                let content_type = response.headers().get(CONTENT_TYPE);
                let error = RouteError::not_grpc(self.call.endpoint(), response.status(), content_type);
                self.call.end(Outcome::Status(error.code()));
                Failure { status: error.into(), is_unprocessed: false, is_callers: false }
            }
            Err(error) => {
                let is_unprocessed = match &error {
                    CallError::NotConnected => true,
                    CallError::Stream(error) => error.is_unprocessed(),
                    CallError::Request(_) => false,
                };
                let is_callers = matches!(error, CallError::Request(_));
                let (status, outcome) = RouteError::call_with_outcome(self.call.endpoint(), error);
                self.call.end(outcome);
                Failure { status, is_unprocessed, is_callers }
            }
        };
        self.stage = Stage::Over;
        Poll::Ready(Err(failure))
    }
}

impl<B> Attempt<B> {
    /// The status of an answer that is nothing else, and what it says of another attempt.
    pub(super) fn status(&self) -> Option<(Code, Option<Pushback>)> {
        match &self.stage {
            Stage::Answered(response, Some(status)) => {
                Some((status.code(), status.pushback(response.headers())))
            }
            _ => None,
        }
    }

    /// Ends it with that status, for the sake of another attempt, and gives it as the caller would see it.
    pub(super) fn refuse(&mut self) -> Option<Status> {
        let Stage::Answered(response, Some(outcome)) = &self.stage else { return None };
        self.call.end_with(*outcome, outcome.pushback(response.headers()));
        Status::from_header_map(response.headers())
    }

    /// Its answer, when it has one. It is over by that.
    #[inline]
    pub(super) fn take_answer(&mut self) -> Option<Answer> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Answered(response, status) => Some(Answer { response, status, call: self.call.take() }),
            Stage::Sent(_) | Stage::Over => None,
        }
    }
}

impl Answer {
    /// What the caller gets: a response whose messages have `max_message` bytes at most, and which goes on until
    /// `deadline`. The call that `record` is of ends with it.
    pub(super) fn respond(
        self,
        max_message: u64,
        deadline: Option<Pin<Box<Sleep>>>,
        record: Option<Record>,
    ) -> Response<CallBody> {
        let (head, body) = self.response.into_parts();
        let body = LiveBody::new(&head.headers, self.status, body, self.call, max_message, deadline, record);
        Response::from_parts(head, body.into())
    }
}

impl Failure {
    /// For who polls again what has given its response.
    fn over() -> Self {
        Self { status: over(), is_unprocessed: false, is_callers: true }
    }
}

/// For who polls again what has given its response.
pub(super) fn over() -> Status {
    Status::cancelled("the call is over")
}
