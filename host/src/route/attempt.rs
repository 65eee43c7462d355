//! One attempt at a call: sent to one endpoint, until its response begins.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderValue, Request, StatusCode};
use http_body::Body;
use tonic::{Code, Status};

use super::call::Call;
use super::errand::Replay;
use super::outcome::{GRPC_STATUS, Outcome, Pushback};
use super::plugin_route::Picked;
use super::{Endpoint, RouteError, reserved};
use crate::BoxError;
use crate::transport::{CallError, ResponseBody, Sending};

/// A request under way to one endpoint. Dropping it cancels the attempt there.
#[derive(Debug)]
pub(super) struct Attempt<B> {
    sending: Sending<Replay<B>>,
    call: Option<Call>,
}

/// A response that has begun.
pub(super) struct Answer {
    pub(super) head: Parts,
    pub(super) body: ResponseBody,
    pub(super) call: Call,
}

/// An attempt that gave no response.
pub(super) struct Failure {
    pub(super) status: Status,
    /// Where it went; `None` when it was over before.
    pub(super) endpoint: Option<Arc<Endpoint>>,
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
        Self { sending: picked.slot.send(request), call: Some(picked.call) }
    }

    /// Where it went; `None` once it has ended.
    pub(super) fn call(&self) -> Option<&Call> {
        self.call.as_ref()
    }

    /// Ends it with a status of the host's own.
    pub(super) fn give_up(&mut self, code: Code) {
        if let Some(mut call) = self.call.take() {
            call.end(Outcome::Status(code));
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Failure>> {
        let answer = ready!(Pin::new(&mut self.sending).poll(cx));
        let Some(mut call) = self.call.take() else { return Poll::Ready(Err(Failure::over())) };
        Poll::Ready(match answer {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                reserved::strip(&mut head.headers, &[]);
                match is_grpc(&head) {
                    true => Ok(Answer { head, body, call }),
                    false => {
                        let content_type = head.headers.get(CONTENT_TYPE);
                        let error = RouteError::not_grpc(call.endpoint(), head.status, content_type);
                        call.end(Outcome::Status(error.code()));
                        let endpoint = Some(call.endpoint().clone());
                        Err(Failure {
                            status: error.into(),
                            endpoint,
                            is_unprocessed: false,
                            is_callers: false,
                        })
                    }
                }
            }
            Err(error) => {
                let is_unprocessed = match &error {
                    CallError::NotConnected => true,
                    CallError::Stream(error) => error.is_unprocessed(),
                    CallError::Request(_) => false,
                };
                let is_callers = matches!(error, CallError::Request(_));
                let (status, outcome) = RouteError::call_with_outcome(call.endpoint(), error);
                call.end(outcome);
                Err(Failure { status, endpoint: Some(call.endpoint().clone()), is_unprocessed, is_callers })
            }
        })
    }
}

impl Answer {
    /// The status of an answer that is nothing else, and what it says of another attempt.
    pub(super) fn status(&self) -> Option<(Code, Option<Pushback>)> {
        match Outcome::of(&self.head.headers)? {
            Outcome::Status(code) => Some((code, Pushback::of(&self.head.headers))),
            Outcome::Served(_) | Outcome::Cancelled => None,
        }
    }
}

impl Failure {
    /// For who polls again what has given its response.
    fn over() -> Self {
        let status = Status::cancelled("the call is over");
        Self { status, endpoint: None, is_unprocessed: false, is_callers: true }
    }
}

/// Whether the head begins a gRPC response. Whoever gives a status of gRPC is believed; without a content-type
/// the frames decide.
fn is_grpc(head: &Parts) -> bool {
    let is_content = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    let content_type = head.headers.get(CONTENT_TYPE);
    (head.status == StatusCode::OK && content_type.is_none_or(is_content))
        || head.headers.contains_key(&GRPC_STATUS)
}
