//! A call until its response begins.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

use super::attempt::{Answer, Attempt, Failure};
use super::body::CallBody;
use super::call::LiveBody;
use super::errand::{Errand, Replay};
use super::error::mark_absence;
use super::hedge::hedged;
use super::outcome::Outcome;
use super::plugin_route::Picked;
use super::record::Record;
use super::retry::{History, Why};
use super::unpicked::Unpicked;
use super::{Endpoint, RouteError};
use crate::BoxError;
use crate::resilience::limiter::Permit;

/// A call of a [`Channel`](super::Channel) until its response begins. Dropping it cancels the call at the plugin.
///
/// Written by hand: every call has one, and what the compiler makes of an `async` block is several times as
/// large, and is copied as it is made.
#[must_use = "a call goes on as its future is polled"]
pub struct ResponseFuture<B>(Kind<B>);

#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are plain, and a box for each would cost every call"
)]
enum Kind<B> {
    Plain(Attempts<B>),
    /// Of a method with something that answers in place of its plugin.
    Rescued(Pin<Box<dyn Future<Output = Result<Response<CallBody>, Status>> + Send>>),
}

/// A call of a plugin until its response begins.
pub(super) struct Attempts<B> {
    state: State<B>,
    /// Gone when the response has begun; none for a call that has no method.
    record: Option<Record>,
}

#[allow(clippy::large_enum_variant, reason = "nearly all are sent, and what is rare is boxed already")]
enum State<B> {
    Sent(Sent<B>),
    /// For a place, for an endpoint, or for the time of the next attempt: rare and larger.
    Waiting(Pin<Box<dyn Future<Output = Result<Resumed<B>, Status>> + Send>>),
    /// Several attempts at once.
    Hedged(Pin<Box<dyn Future<Output = Result<Begun, Status>> + Send>>),
    /// Empty after the status was given.
    Failed(Option<Status>),
}

/// A call of which an attempt is under way.
struct Sent<B> {
    errand: Arc<Errand<B>>,
    attempt: Attempt<B>,
    /// Of the call.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Of this attempt, when there may be another.
    timeout: Option<Pin<Box<Sleep>>>,
    history: History,
}

/// A call that has waited, and the place that it got.
type Resumed<B> = (Sent<B>, Option<Permit>);

/// A response that has begun, and how long it may go on.
pub(super) struct Begun {
    answer: Answer,
    max_message: u64,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What becomes of a call when an attempt ends.
#[allow(clippy::large_enum_variant, reason = "nearly all are done, and none is kept")]
enum Next<B> {
    Done(Result<Begun, Status>),
    Again(Pin<Box<dyn Future<Output = Result<Resumed<B>, Status>> + Send>>),
}

impl<B> ResponseFuture<B> {
    pub(super) fn rescued(
        response: impl Future<Output = Result<Response<CallBody>, Status>> + Send + 'static,
    ) -> Self {
        Self(Kind::Rescued(Box::pin(response)))
    }

    pub(super) fn failed(error: RouteError) -> Self {
        Self(Kind::Plain(Attempts { state: State::Failed(Some(error.into())), record: None }))
    }
}

impl<B> From<Attempts<B>> for ResponseFuture<B> {
    fn from(attempts: Attempts<B>) -> Self {
        Self(Kind::Plain(attempts))
    }
}

impl<B> Attempts<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sent to the endpoint that was picked.
    pub(super) fn sent(
        errand: Arc<Errand<B>>,
        picked: Picked,
        request: Request<Replay<B>>,
        record: Record,
    ) -> Self {
        let state = match errand.method.is_hedged() && errand.pinned.is_none() {
            false => State::Sent(Sent::new(errand, picked, request, None, History::default())),
            true => State::Hedged(Box::pin(async move {
                let (max_message, deadline) = (errand.method.route().max_message(), errand.deadline);
                let answer = hedged(errand, picked, request).await?;
                let deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
                Ok(Begun { answer, max_message, deadline })
            })),
        };
        Self { state, record: Some(record) }
    }

    /// Sent when there is an endpoint for it; `why` there is none now.
    pub(super) fn waiting(
        errand: Arc<Errand<B>>,
        why: Unpicked,
        request: Request<Replay<B>>,
        record: Record,
    ) -> Self {
        let state = State::Waiting(Box::pin(async move {
            let picked = errand.pick_later(&[], why).await?;
            Ok((Sent::new(errand, picked, request, None, History::default()), None))
        }));
        Self { state, record: Some(record) }
    }

    /// Sent when there is room for it, of which there is none now.
    pub(super) fn queued(errand: Arc<Errand<B>>, request: Request<Replay<B>>, record: Record) -> Self {
        let state = State::Waiting(Box::pin(async move {
            let permit = errand.acquire().await?;
            let picked = match errand.pick(&[], errand.method.route().now()) {
                Ok(picked) => picked,
                Err(why) => errand.pick_later(&[], why).await?,
            };
            Ok((Sent::new(errand, picked, request, None, History::default()), permit))
        }));
        Self { state, record: Some(record) }
    }

    /// The response as it has begun, or why there is none, and the record of the call, which has not ended by that.
    pub(super) async fn begun(mut self) -> (Result<Begun, Status>, Option<Record>) {
        let result = poll_fn(|cx| self.poll(cx)).await;
        (result, self.record)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Begun, Status>> {
        let result = loop {
            self.state = match &mut self.state {
                State::Sent(sent) => match ready!(sent.poll(cx)) {
                    Next::Done(result) => break result,
                    Next::Again(waiting) => State::Waiting(waiting),
                },
                State::Waiting(waiting) => match ready!(waiting.as_mut().poll(cx)) {
                    Ok((sent, permit)) => {
                        if let (Some(permit), Some(record)) = (permit, &mut self.record) {
                            record.hold(permit);
                        }
                        State::Sent(sent)
                    }
                    Err(status) => State::Failed(Some(status)),
                },
                State::Hedged(hedged) => break ready!(hedged.as_mut().poll(cx)),
                // For who polls again what has given its response.
                State::Failed(status) => break Err(status.take().unwrap_or_else(over)),
            };
        };
        self.state = State::Failed(None);
        Poll::Ready(result)
    }
}

impl<B> Future for ResponseFuture<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<CallBody>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let attempts = match &mut self.get_mut().0 {
            Kind::Plain(attempts) => attempts,
            Kind::Rescued(response) => return response.as_mut().poll(cx),
        };
        let result = ready!(attempts.poll(cx));
        let record = attempts.record.take();
        Poll::Ready(match result {
            Ok(begun) => Ok(begun.respond(record)),
            Err(status) => {
                if let Some(record) = record {
                    record.end_now(status.code());
                }
                Err(status)
            }
        })
    }
}

impl Begun {
    /// `record` is that of the call, unless somebody else ends it.
    pub(super) fn respond(self, record: Option<Record>) -> Response<CallBody> {
        let Answer { head, body, call } = self.answer;
        let call = call.with_record(record);
        let body = LiveBody::new(&head.headers, body, call, self.max_message, self.deadline);
        Response::from_parts(head, body.into())
    }
}

impl<B> Sent<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn new(
        errand: Arc<Errand<B>>,
        picked: Picked,
        request: Request<Replay<B>>,
        deadline: Option<Pin<Box<Sleep>>>,
        history: History,
    ) -> Self {
        let retry = &errand.method.policy().retry;
        let timeout = match retry.attempt_timeout {
            Some(timeout) if errand.method.is_idempotent() && history.retries() < retry.max_retries => {
                Some(Box::pin(tokio::time::sleep(timeout)))
            }
            _ => None,
        };
        let deadline = deadline.or_else(|| Some(Box::pin(sleep_until(errand.deadline?))));
        Self { attempt: Attempt::begin(picked, request), errand, deadline, timeout, history }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<B>> {
        if let Poll::Ready(ended) = self.attempt.poll(cx) {
            return Poll::Ready(match ended {
                Ok(answer) => self.answered(answer),
                Err(failure) => self.failed(failure),
            });
        }
        // An answer that is there counts even when time is up as well.
        if is_over(&mut self.deadline, cx) {
            let error = self.endpoint().map(|endpoint| RouteError::deadline(&endpoint));
            self.attempt.give_up(Code::DeadlineExceeded);
            return Poll::Ready(Next::Done(Err(error.map_or_else(over, Status::from))));
        }
        if is_over(&mut self.timeout, cx) {
            self.timeout = None;
            if let Some(endpoint) = self.endpoint()
                && let Ok(next) = self.again(&endpoint, Why::TimedOut, RouteError::deadline(&endpoint).into())
            {
                self.attempt.give_up(Code::DeadlineExceeded);
                return Poll::Ready(next);
            }
        }
        Poll::Pending
    }

    fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.attempt.call().map(|call| call.endpoint().clone())
    }

    fn answered(&mut self, mut answer: Answer) -> Next<B> {
        let endpoint = answer.call.endpoint().clone();
        if let Some((code, pushback)) = answer.status()
            && code != Code::Ok
        {
            let why = Why::Status(code, pushback);
            let status = Status::from_header_map(&answer.head.headers).unwrap_or_else(over);
            if let Ok(next) = self.again(&endpoint, why, status) {
                answer.call.end_with(Outcome::Status(code), pushback);
                return next;
            }
        }
        self.errand.commit();
        let max_message = self.errand.method.route().max_message();
        Next::Done(Ok(Begun { answer, max_message, deadline: self.deadline.take() }))
    }

    fn failed(&mut self, failure: Failure) -> Next<B> {
        let Failure { status, endpoint, is_unprocessed, is_callers } = failure;
        match endpoint {
            Some(endpoint) if !is_callers => {
                let why = match is_unprocessed {
                    true => Why::Unprocessed,
                    false => Why::Status(status.code(), None),
                };
                self.again(&endpoint, why, status).unwrap_or_else(|status| Next::Done(Err(status)))
            }
            _ => Next::Done(Err(status)),
        }
    }

    /// Makes another attempt if that is allowed and makes sense, or gives `status` back. It is what the caller gets when there is
    /// no endpoint for another attempt, or no time.
    fn again(&mut self, endpoint: &Arc<Endpoint>, why: Why, status: Status) -> Result<Next<B>, Status> {
        let method = &self.errand.method;
        if !self.errand.is_repeatable() {
            return Err(status);
        }
        let Some(pause) = self.history.next(method, endpoint, why, method.route().now()) else {
            return Err(status);
        };
        let resumes = Instant::now() + pause;
        if self.errand.deadline.is_some_and(|deadline| deadline <= resumes) {
            return Err(status);
        }
        let (errand, history) = (self.errand.clone(), std::mem::take(&mut self.history));
        let deadline = self.deadline.take();
        Ok(Next::Again(Box::pin(async move {
            if pause > Duration::ZERO {
                sleep_until(resumes).await;
            }
            let picked = match errand.pick(history.tried(), errand.method.route().now()) {
                Ok(picked) => Ok(picked),
                Err(why) => errand.pick_later(history.tried(), why).await,
            };
            let picked = match picked {
                Ok(picked) => picked,
                Err(error) => return Err(mark_absence(status, &error)),
            };
            let Some(request) = errand.again(history.retries()) else { return Err(status) };
            tracing::debug!(
                plugin = %errand.method.route().plugin(), instance = %picked.call.endpoint().name(),
                retries = history.retries(), "tries again: {status}"
            );
            Ok((Self::new(errand, picked, request, deadline, history), None))
        })))
    }
}

fn is_over(timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
}

fn over() -> Status {
    Status::cancelled("the call is over")
}

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Rescued(_) => "ResponseFuture(rescued)",
            Kind::Plain(attempts) => match attempts.state {
                State::Sent(_) => "ResponseFuture(sent)",
                State::Waiting(_) => "ResponseFuture(waiting)",
                State::Hedged(_) => "ResponseFuture(hedged)",
                State::Failed(_) => "ResponseFuture(failed)",
            },
        })
    }
}
