//! The record of one call, however many attempts it takes.

use std::sync::Arc;

use http::Request;
use tonic::Code;

use super::Method;
use crate::resilience::clock::Moment;
use crate::resilience::limiter::Permit;
use crate::span::CallSpan;

/// A call that has begun and will be counted when it ends. One that is dropped before was cancelled by its caller.
#[derive(Debug)]
pub(super) struct Record {
    method: Arc<Method>,
    began: Moment,
    is_over: bool,
    /// Its place among the calls that may be in flight.
    permit: Option<Permit>,
    span: CallSpan,
    /// Of the call in whose place this one is made: it ends with it.
    origin: Option<Box<Self>>,
}

impl Record {
    pub(super) fn new(method: Arc<Method>, began: Moment) -> Self {
        Self { method, began, is_over: false, permit: None, origin: None, span: CallSpan::default() }
    }

    /// Gives it a span, if anybody wants one, which the request tells of.
    pub(super) fn trace<B>(&mut self, request: &mut Request<B>) {
        let (is_known, plugin) = (self.method.info().is_some(), self.method.route().plugin());
        self.span = CallSpan::call(request, is_known, plugin.as_str());
    }

    /// It holds a place until it ends.
    pub(super) fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// It needs no place any more, though it has not ended.
    pub(super) fn release(&mut self) {
        self.permit = None;
    }

    /// This call is made in place of another one, which ends as this one does.
    pub(super) fn in_place_of(&mut self, origin: Self) {
        self.origin = Some(Box::new(origin));
    }

    /// Counts it.
    pub(super) fn end(mut self, code: Code, now: Moment) {
        self.note(code, now);
    }

    /// The same, when nobody has looked at the clock yet.
    pub(super) fn end_now(self, code: Code) {
        let now = self.method.route().now();
        self.end(code, now);
    }

    fn note(&mut self, code: Code, now: Moment) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.method.stats().record(code, now.since(self.began));
            self.span.ends_with(code);
            self.permit = None;
            if let Some(origin) = self.origin.take() {
                // Another plugin's, with a clock of its own.
                origin.end_now(code);
            }
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_over {
            let now = self.method.route().now();
            self.note(Code::Cancelled, now);
        }
    }
}
