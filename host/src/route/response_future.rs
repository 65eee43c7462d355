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

use super::RouteError;
use super::attempt::{Answer, Attempt, Failure, over};
use super::body::CallBody;
use super::errand::{Errand, Replay};
use super::error::mark_absence;
use super::hedge::hedged;
use super::plugin_route::Picked;
use super::record::Record;
use super::retry::{History, Why};
use super::unpicked::Unpicked;
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
    /// One of several attempts has been answered. Empty after the response was given.
    Begun(Option<Box<Begun>>),
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
type Resumed<B> = (State<B>, Option<Permit>);

/// A response that has begun, and how long it may go on.
struct Begun {
    answer: Answer,
    max_message: u64,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What becomes of a call when an attempt ends.
enum Next<B> {
    /// Its answer is that of the call.
    Answered,
    Failed(Status),
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
        Self { state: State::sent(errand, picked, request), record: Some(record) }
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
            Ok((State::sent(errand, picked, request), None))
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
            Ok((State::sent(errand, picked, request), permit))
        }));
        Self { state, record: Some(record) }
    }

    /// Goes on until it is answered or has failed.
    pub(super) async fn settle(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// The response of a call that has been answered, or why there is none. The record goes with the response, unless it has
    /// been [taken](Self::take_record).
    pub(super) fn respond(&mut self) -> Result<Response<CallBody>, Status> {
        match &mut self.state {
            State::Sent(Sent { errand, attempt, deadline, .. }) => {
                let answer = attempt.take_answer().ok_or_else(over)?;
                Ok(answer.respond(errand.method.route().max_message(), deadline.take(), self.record.take()))
            }
            State::Begun(begun) => {
                let Begun { answer, max_message, deadline } = *begun.take().ok_or_else(over)?;
                Ok(answer.respond(max_message, deadline, self.record.take()))
            }
            State::Failed(status) => Err(status.take().unwrap_or_else(over)),
            State::Waiting(_) | State::Hedged(_) => Err(over()),
        }
    }

    /// The same, where a call that has no response ends with that.
    pub(super) fn conclude(&mut self) -> Result<Response<CallBody>, Status> {
        let response = self.respond();
        if let Err(status) = &response
            && let Some(record) = self.record.take()
        {
            record.end_now(status.code());
        }
        response
    }

    /// From now on somebody else sees to it that the call is counted.
    pub(super) fn take_record(&mut self) -> Option<Record> {
        self.record.take()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.state = match &mut self.state {
                State::Sent(sent) => match ready!(sent.poll(cx)) {
                    Next::Answered => return Poll::Ready(()),
                    Next::Failed(status) => State::Failed(Some(status)),
                    Next::Again(waiting) => State::Waiting(waiting),
                },
                State::Waiting(waiting) => match ready!(waiting.as_mut().poll(cx)) {
                    Ok((next, permit)) => {
                        if let (Some(permit), Some(record)) = (permit, &mut self.record) {
                            record.hold(permit);
                        }
                        next
                    }
                    Err(status) => State::Failed(Some(status)),
                },
                State::Hedged(hedged) => match ready!(hedged.as_mut().poll(cx)) {
                    Ok(begun) => State::Begun(Some(Box::new(begun))),
                    Err(status) => State::Failed(Some(status)),
                },
                State::Begun(_) | State::Failed(_) => return Poll::Ready(()),
            };
        }
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
        ready!(attempts.poll(cx));
        Poll::Ready(attempts.conclude())
    }
}

impl<B> State<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// The first attempt goes to the endpoint that was picked.
    fn sent(errand: Arc<Errand<B>>, picked: Picked, request: Request<Replay<B>>) -> Self {
        if !errand.method.is_hedged() || errand.pinned.is_some() {
            return Self::Sent(Sent::new(errand, picked, request, None, History::default()));
        }
        Self::Hedged(Box::pin(async move {
            let (max_message, deadline) = (errand.method.route().max_message(), errand.deadline);
            let answer = hedged(errand, picked, request).await?;
            let deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
            Ok(Begun { answer, max_message, deadline })
        }))
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
                Ok(()) => self.answered(),
                Err(failure) => self.failed(failure),
            });
        }
        // An answer that is there counts even when time is up as well.
        if is_over(&mut self.deadline, cx) {
            let error = RouteError::deadline(self.attempt.endpoint());
            self.attempt.give_up(Code::DeadlineExceeded);
            return Poll::Ready(Next::Failed(error.into()));
        }
        if is_over(&mut self.timeout, cx) {
            self.timeout = None;
            if let Some(pause) = self.pause(Why::TimedOut) {
                let error = RouteError::deadline(self.attempt.endpoint());
                self.attempt.give_up(Code::DeadlineExceeded);
                return Poll::Ready(self.again(pause, error.into()));
            }
        }
        Poll::Pending
    }

    fn answered(&mut self) -> Next<B> {
        if let Some((code, pushback)) = self.attempt.status()
            && code != Code::Ok
            && let Some(pause) = self.pause(Why::Status(code, pushback))
            && let Some(status) = self.attempt.refuse()
        {
            return self.again(pause, status);
        }
        self.errand.commit();
        Next::Answered
    }

    fn failed(&mut self, failure: Failure) -> Next<B> {
        let Failure { status, is_unprocessed, is_callers } = failure;
        if is_callers {
            return Next::Failed(status);
        }
        let why = match is_unprocessed {
            true => Why::Unprocessed,
            false => Why::Status(status.code(), None),
        };
        match self.pause(why) {
            Some(pause) => self.again(pause, status),
            None => Next::Failed(status),
        }
    }

    /// How long to wait before another attempt; `None` when none is allowed, or none makes sense.
    fn pause(&mut self, why: Why) -> Option<Duration> {
        if !self.errand.is_repeatable() {
            return None;
        }
        let method = &self.errand.method;
        let pause = self.history.next(method, self.attempt.endpoint(), why, method.route().now())?;
        let is_in_time = self.errand.deadline.is_none_or(|deadline| Instant::now() + pause < deadline);
        is_in_time.then_some(pause)
    }

    /// Makes another attempt after a pause. `status` is what the caller gets when there is no endpoint for it.
    fn again(&mut self, pause: Duration, status: Status) -> Next<B> {
        let resumes = Instant::now() + pause;
        let (errand, history) = (self.errand.clone(), std::mem::take(&mut self.history));
        let deadline = self.deadline.take();
        Next::Again(Box::pin(async move {
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
            Ok((State::Sent(Self::new(errand, picked, request, deadline, history)), None))
        }))
    }
}

fn is_over(timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
}

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Rescued(_) => "ResponseFuture(rescued)",
            Kind::Plain(attempts) => match attempts.state {
                State::Sent(_) => "ResponseFuture(sent)",
                State::Waiting(_) => "ResponseFuture(waiting)",
                State::Hedged(_) => "ResponseFuture(hedged)",
                State::Begun(_) => "ResponseFuture(begun)",
                State::Failed(_) => "ResponseFuture(failed)",
            },
        })
    }
}
