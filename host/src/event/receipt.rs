//! Tells a publisher that all who wanted an event are done with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// What a publisher waits for: one [`Receipt`] for each event and each subscription that it matches.
#[derive(Debug)]
pub(super) struct Awaited {
    left: AtomicUsize,
    given_up: Mutex<Vec<GivenUp>>,
    waker: AtomicWaker,
}

/// Who gave up which event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// Position of the event in what was published.
    pub(super) index: usize,
    /// Name of the subscription.
    pub(super) subscription: Arc<str>,
}

/// What goes with an event to a subscription. One that is dropped gives the event up.
#[derive(Debug)]
pub(super) struct Receipt {
    awaited: Arc<Awaited>,
    index: usize,
    subscription: Arc<str>,
    is_handled: bool,
}

impl Awaited {
    /// Nothing is awaited yet, but what is published: [`Self::published`] must follow.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(1), given_up: Mutex::default(), waker: AtomicWaker::new() })
    }

    /// A receipt for an event that goes to a subscription.
    pub(super) fn receipt(self: &Arc<Self>, index: usize, subscription: &Arc<str>) -> Receipt {
        self.left.fetch_add(1, Ordering::Relaxed);
        Receipt { awaited: self.clone(), index, subscription: subscription.clone(), is_handled: false }
    }

    /// All receipts have been made.
    pub(super) fn published(&self) {
        self.done();
    }

    /// Ready when every receipt has come back, with who gave up.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Vec<GivenUp>> {
        self.waker.register(cx.waker());
        match self.left.load(Ordering::Acquire) {
            0 => Poll::Ready(std::mem::take(
                &mut *self.given_up.lock().unwrap_or_else(PoisonError::into_inner),
            )),
            _ => Poll::Pending,
        }
    }

    fn done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake();
        }
    }
}

impl Receipt {
    /// The subscription is done with the event.
    pub(super) fn handled(mut self) {
        self.is_handled = true;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_handled {
            let given_up = GivenUp { index: self.index, subscription: self.subscription.clone() };
            self.awaited.given_up.lock().unwrap_or_else(PoisonError::into_inner).push(given_up);
        }
        self.awaited.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_receipts_are_awaited_and_a_lost_one_gives_up() {
        let awaited = Awaited::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (first, second) = (awaited.receipt(0, &"a".into()), awaited.receipt(3, &"b".into()));
        awaited.published();
        assert_eq!(awaited.poll(&mut cx), Poll::Pending);
        first.handled();
        assert_eq!(awaited.poll(&mut cx), Poll::Pending);
        drop(second);
        let given_up = GivenUp { index: 3, subscription: "b".into() };
        assert_eq!(awaited.poll(&mut cx), Poll::Ready(vec![given_up]));
    }

    #[test]
    fn who_has_no_subscribers_waits_for_nobody() {
        let awaited = Awaited::new();
        awaited.published();
        assert!(awaited.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    }
}
