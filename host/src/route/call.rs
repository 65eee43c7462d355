//! A call that is on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{Code, Status};

use super::outcome::{Outcome, Pushback, Said};
use super::record::Record;
use super::{Endpoint, MessageMeter, Method, RouteError};
use crate::resilience::breaker::{Probe, Verdict};
use crate::resilience::clock::Moment;
use crate::span::CallSpan;
use crate::transport::{BodyError, ResponseBody};

/// An attempt on its endpoint, counted there until it ends. One that is dropped before was cancelled.
#[derive(Debug)]
pub(super) struct Call {
    endpoint: Arc<Endpoint>,
    counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    method: Arc<Method>,
    probe: Option<Probe>,
    began: Moment,
    is_answered: bool,
    span: CallSpan,
}

impl Call {
    /// A call that the endpoint counts from now on.
    pub(super) fn counted(
        endpoint: Arc<Endpoint>,
        method: Arc<Method>,
        probe: Option<Probe>,
        now: Moment,
    ) -> Self {
        endpoint.begin();
        method.route().begin();
        let counted = Counted { method, probe, began: now, is_answered: false, span: CallSpan::default() };
        Self { endpoint, counted: Some(counted) }
    }

    /// A call that the endpoint knows nothing of.
    pub(super) fn uncounted(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, counted: None }
    }

    /// Gives it a span, if anybody wants one, which the request tells of.
    pub(super) fn trace<B>(&mut self, request: &mut Request<B>) {
        if let Some(Counted { method, span, .. }) = &mut self.counted {
            let (is_known, plugin) = (method.info().is_some(), method.route().plugin());
            *span = CallSpan::attempt(request, is_known, plugin.as_str(), self.endpoint.name().as_str());
        }
    }

    /// The call, in other hands: from now on this one is not counted.
    pub(super) fn take(&mut self) -> Self {
        Self { endpoint: self.endpoint.clone(), counted: self.counted.take() }
    }

    /// Where it goes.
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    fn is_probe(&self) -> bool {
        self.counted.as_ref().is_some_and(|counted| counted.probe.is_some())
    }

    /// Takes note that the answer has begun and is not over yet, which tells how fast the endpoint is. That of most calls
    /// is over as soon as it begins, and looking at the clock costs as much as all the counting.
    fn goes_on(&mut self) {
        if let Some(counted) = self.counted.as_mut().filter(|counted| !counted.is_answered) {
            let now = counted.method.route().now();
            counted.is_answered = true;
            self.endpoint.answered(Verdict::Success, None, now.since(counted.began), now);
            // A stream may have no end, so that it lasts has to prove the endpoint.
            let transition = counted.probe.as_ref().and_then(|probe| probe.answered(now));
            if transition.is_some() {
                counted.method.route().breaker_changed(&self.endpoint, transition);
            }
        }
    }

    /// Takes note of its end. Only the first counts.
    pub(super) fn end(&mut self, outcome: Outcome) {
        let _ = self.end_with(outcome, None);
    }

    /// The same, when the endpoint says how long it wants to be left alone. The time, if anybody has looked at the clock.
    pub(super) fn end_with(&mut self, outcome: Outcome, pushback: Option<Pushback>) -> Option<Moment> {
        let pushback = match pushback {
            Some(Pushback::After(pushback)) => Some(pushback),
            Some(Pushback::Never) | None => None,
        };
        let Counted { method, probe, began, is_answered, span } = self.counted.take()?;
        span.ends_with(outcome.code());
        let route = method.route();
        let now = route.now();
        let verdict = outcome.verdict(method.policy().circuit_breaker.codes);
        if !is_answered || matches!(verdict, Verdict::Failure | Verdict::Overload) {
            self.endpoint.answered(verdict, pushback, now.since(began), now);
        }
        let is_probe = probe.is_some();
        let transition = self.endpoint.end(verdict, probe, now);
        route.end(&method, now.since(began), outcome.code(), now);
        if is_probe || transition.is_some() {
            route.breaker_changed(&self.endpoint, transition);
        }
        Some(now)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}

/// Body of a response to a call. The call ends with it: at the trailers, at an error, or when it is dropped.
#[derive(Debug)]
pub(super) struct LiveBody {
    body: ResponseBody,
    call: Call,
    /// Of the whole call, which ends with this attempt; `None` when somebody else sees to that.
    record: Option<Record>,
    meter: MessageMeter,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the status came with the head.
    has_status: bool,
    ended: bool,
}

impl LiveBody {
    pub(super) fn new(
        headers: &HeaderMap,
        status: Option<Outcome>,
        body: ResponseBody,
        call: Call,
        max_message: u64,
        deadline: Option<Pin<Box<Sleep>>>,
        record: Option<Record>,
    ) -> Self {
        let (meter, has_status) = (MessageMeter::new(max_message), status.is_some());
        let mut live = Self { body, call, record, meter, deadline, has_status, ended: false };
        match status {
            Some(status) => live.finish(status, status.pushback(headers)),
            // Whoever reads the answer may take its time, and the breaker is not to wait for that.
            None if live.call.is_probe() => live.call.goes_on(),
            None => {}
        }
        live
    }

    /// The call that `record` is of ends with this one.
    pub(super) fn attach(&mut self, record: Record) {
        match &mut self.record {
            Some(own) => own.in_place_of(record),
            None => self.record = Some(record),
        }
    }

    /// The attempt has ended, and so has the call.
    fn finish(&mut self, outcome: Outcome, pushback: Option<Pushback>) {
        let now = self.call.end_with(outcome, pushback);
        if let Some(record) = self.record.take() {
            match now {
                Some(now) => record.end(outcome.code(), now),
                None => record.end_now(outcome.code()),
            }
        }
    }

    /// The plugin says that all is well and has not sent all of a message: nothing that a caller could trust.
    fn cut_short(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.fail(RouteError::cut_short(self.call.endpoint()))
    }

    fn without_status(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.fail(RouteError::without_status(self.call.endpoint()))
    }

    fn fail(&mut self, error: RouteError) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let outcome = Outcome::Status(error.code());
        self.fail_with(error.into(), outcome)
    }

    fn fail_with(&mut self, status: Status, outcome: Outcome) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.finish(outcome, None);
        Poll::Ready(Some(Err(status)))
    }
}

impl Body for LiveBody {
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
            return this.fail(RouteError::deadline(this.call.endpoint()));
        }
        let Poll::Ready(frame) = polled else {
            this.call.goes_on();
            return Poll::Pending;
        };
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(data) = frame.data_ref() {
                    if let Err(too_large) = this.meter.advance(data) {
                        let error = RouteError::response_too_large(this.call.endpoint(), too_large);
                        return this.fail_with(error.into(), Outcome::Served(Code::ResourceExhausted));
                    }
                } else if let Some(trailers) = frame.trailers_mut() {
                    return match Said::read(trailers).status {
                        Some(outcome) if this.meter.is_within_message() && outcome.is_ok() => {
                            this.cut_short()
                        }
                        Some(outcome) => {
                            // Nothing comes after trailers.
                            this.ended = true;
                            this.finish(outcome, outcome.pushback(trailers));
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
                this.fail_with(status, outcome)
            }
            Some(Err(BodyError::Status(status))) => {
                let outcome = Outcome::Status(status.code());
                this.fail_with(status, outcome)
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
