//! Hedging, by gRPC's proposal A6: another attempt while one still waits, and the first answer counts.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

use super::attempt::{Answer, Attempt, Failure, over};
use super::call::Call;
use super::errand::{Errand, Replay};
use super::outcome::Pushback;
use super::plugin_route::Picked;
use super::stats::Event;
use super::{Endpoint, Method, RouteError};
use crate::BoxError;
use crate::config::HedgingDelay;
use crate::resilience::clock::Moment;

/// The attempts of a call that is hedged.
struct Hedge<B> {
    errand: Arc<Errand<B>>,
    under_way: Vec<Attempt<B>>,
    tried: Vec<Arc<Endpoint>>,
    /// When the next attempt is made, if nothing has been answered by then.
    next: Option<Pin<Box<Sleep>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// A server has asked for no more attempts.
    is_pushed_back: bool,
    /// The last attempt that failed and did not end the others.
    failure: Option<Ended>,
}

/// How a call ended.
enum Ended {
    Answered(Box<Answer>),
    Failed(Status),
}

impl Ended {
    fn answered(answer: Answer) -> Self {
        Self::Answered(Box::new(answer))
    }
}

/// Makes the attempts that the method's policy allows, and gives the first answer that counts. The others are cancelled.
pub(super) async fn hedged<B>(
    errand: Arc<Errand<B>>,
    picked: Picked,
    request: Request<Replay<B>>,
) -> Result<Answer, Status>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let deadline = errand.deadline.map(|deadline| Box::pin(sleep_until(deadline)));
    let next = delay(&errand.method, errand.method.route().now()).map(after);
    let tried = vec![picked.call.endpoint().clone()];
    let under_way = vec![Attempt::begin(picked, request)];
    let mut hedge = Hedge { errand, under_way, tried, next, deadline, is_pushed_back: false, failure: None };
    let ended = poll_fn(|cx| hedge.poll(cx)).await;
    match ended {
        Ended::Answered(answer) => {
            hedge.errand.commit();
            Ok(*answer)
        }
        Ended::Failed(status) => Err(status),
    }
}

fn after(delay: Duration) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(Instant::now() + delay))
}

/// How long to wait before the next attempt; `None` while nobody knows what is slow.
fn delay(method: &Method, now: Moment) -> Option<Duration> {
    match method.policy().hedging.delay? {
        HedgingDelay::Fixed(delay) => Some(delay),
        HedgingDelay::P95 => method.stats().p95(now),
    }
}

impl<B> Hedge<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            let mut freed = false;
            let mut index = 0;
            while let Some(attempt) = self.under_way.get_mut(index) {
                let Poll::Ready(ended) = attempt.poll(cx) else {
                    index += 1;
                    continue;
                };
                let attempt = self.under_way.swap_remove(index);
                freed = true;
                if let Some(ended) = self.judge(attempt, ended) {
                    return Poll::Ready(ended);
                }
            }
            if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Ended::Failed(self.out_of_time()));
            }
            let is_due = self.next.as_mut().is_some_and(|next| next.as_mut().poll(cx).is_ready());
            // An attempt that failed makes room for the next one at once.
            if !is_due && !freed {
                return Poll::Pending;
            }
            let begun = self.another();
            if self.under_way.is_empty() {
                let failure = self.failure.take();
                return Poll::Ready(failure.unwrap_or_else(|| Ended::Failed(over())));
            }
            if !begun && self.next.is_none() {
                return Poll::Pending;
            }
        }
    }

    /// Whether this end of an attempt is the end of the call.
    fn judge(&mut self, mut attempt: Attempt<B>, ended: Result<(), Failure>) -> Option<Ended> {
        let non_fatal = self.errand.method.policy().hedging.non_fatal_codes;
        match ended {
            Ok(()) => match attempt.status() {
                Some((code, pushback)) if code != Code::Ok && non_fatal.contains(code) => {
                    self.is_pushed_back |= pushback == Some(Pushback::Never);
                    if let Some(Pushback::After(delay)) = pushback {
                        self.next = Some(after(delay));
                    }
                    attempt.refuse();
                    self.failure = attempt.take_answer().map(Ended::answered);
                    None
                }
                _ => attempt.take_answer().map(Ended::answered),
            },
            Err(failure) if failure.is_callers => Some(Ended::Failed(failure.status)),
            Err(failure) if failure.is_unprocessed || non_fatal.contains(failure.status.code()) => {
                self.failure = Some(Ended::Failed(failure.status));
                None
            }
            Err(failure) => Some(Ended::Failed(failure.status)),
        }
    }

    /// Begins another attempt, if that is allowed and there is an endpoint that has not been tried.
    fn another(&mut self) -> bool {
        self.next = None;
        let method = self.errand.method.clone();
        let made = self.tried.len();
        if made >= method.policy().hedging.max_attempts as usize || self.is_pushed_back {
            return false;
        }
        let now = method.route().now();
        let delay = delay(&method, now);
        if !self.errand.is_whole() {
            // The request is still coming: later, perhaps.
            self.next = delay.map(after).filter(|_| self.errand.is_repeatable());
            return false;
        }
        let other = method.route().find_other(&method, self.errand.hash, &self.tried, now);
        let Some((endpoint, slot)) = other else { return false };
        if !method.route().budget().try_withdraw(now) {
            method.stats().count(Event::OverBudget);
            return false;
        }
        let before = u32::try_from(made).unwrap_or(u32::MAX);
        let Some(request) = self.errand.again(before) else { return false };
        method.stats().count(Event::Hedge);
        self.tried.push(endpoint.clone());
        let call = Call::counted(endpoint, method, None, now);
        self.under_way.push(Attempt::begin(Picked { slot, call }, request));
        self.next = delay.map(after);
        true
    }

    fn out_of_time(&mut self) -> Status {
        let endpoint = self.tried.last();
        let status = endpoint.map(|endpoint| RouteError::deadline(endpoint).into());
        self.under_way.iter_mut().for_each(|attempt| attempt.give_up(Code::DeadlineExceeded));
        status.unwrap_or_else(|| Status::deadline_exceeded("the deadline has passed"))
    }
}
