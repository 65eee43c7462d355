//! Tells a publisher what became of its events: that they are recorded, and that all who wanted them are done with them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use plugmesh::event::v1::EventResult;
use tonic::Code;

/// Where a publisher learns which of its frames are done with.
#[derive(Debug, Default)]
pub(super) struct Completions {
    done: Mutex<Vec<u64>>,
    waker: AtomicWaker,
}

impl Completions {
    /// The frames that are done with since the last time, by their numbers. Pending while there are none.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Vec<u64>> {
        self.waker.register(cx.waker());
        match std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner)) {
            done if done.is_empty() => Poll::Pending,
            done => Poll::Ready(done),
        }
    }

    fn add(&self, frame: u64) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
        self.waker.wake();
    }
}

/// What a publisher waits for after it has published a frame: [`Ticket`]s and [`Receipt`]s.
#[derive(Debug)]
pub(super) struct Awaited {
    left: AtomicUsize,
    results: Mutex<Vec<EventResult>>,
    completions: Arc<Completions>,
    frame: u64,
}

/// What goes with events until they are recorded.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Awaited>);

/// What goes with an event to a subscription. One that is dropped gives the event up.
#[derive(Debug)]
pub(super) struct Receipt {
    awaited: Arc<Awaited>,
    index: usize,
    subscription: Arc<str>,
    is_handled: bool,
}

impl Awaited {
    /// For a frame with this number. Nothing is awaited yet, but what is published: [`Self::published`] must follow.
    pub(super) fn new(completions: &Arc<Completions>, frame: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(1),
            results: Mutex::default(),
            completions: completions.clone(),
            frame,
        })
    }

    /// A ticket for events that are to be recorded.
    pub(super) fn ticket(self: &Arc<Self>) -> Ticket {
        self.left.fetch_add(1, Ordering::Relaxed);
        Ticket(self.clone())
    }

    /// A receipt for an event that goes to a subscription.
    pub(super) fn receipt(self: &Arc<Self>, index: usize, subscription: &Arc<str>) -> Receipt {
        self.left.fetch_add(1, Ordering::Relaxed);
        Receipt { awaited: self.clone(), index, subscription: subscription.clone(), is_handled: false }
    }

    /// All tickets and receipts that there will be at first have been made.
    pub(super) fn published(&self) {
        self.done();
    }

    /// What there is to say of single events.
    pub(super) fn take_results(&self) -> Vec<EventResult> {
        std::mem::take(&mut *self.results.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, index: usize, note: impl FnOnce(&mut EventResult)) {
        let index = index as u32;
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        match results.iter_mut().find(|result| result.index == index) {
            Some(result) => note(result),
            None => {
                let mut result = EventResult { index, ..EventResult::default() };
                note(&mut result);
                results.push(result);
            }
        }
    }

    fn done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.completions.add(self.frame);
        }
    }
}

impl Ticket {
    /// The event at this position is not published.
    pub(super) fn refuse(&self, index: usize, code: Code, message: &str) {
        self.0.note(index, |result| {
            result.code = code as i32;
            message.clone_into(&mut result.message);
        });
    }

    /// The event at this position is known already.
    pub(super) fn duplicate(&self, index: usize) {
        self.0.note(index, |result| result.duplicate = true);
    }

    /// A receipt for the event at this position.
    pub(super) fn receipt(&self, index: usize, subscription: &Arc<str>) -> Receipt {
        self.0.receipt(index, subscription)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.done();
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
            let subscription = self.subscription.to_string();
            self.awaited.note(self.index, |result| result.given_up.push(subscription));
        }
        self.awaited.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited() -> (Arc<Completions>, Arc<Awaited>) {
        let completions = Arc::default();
        let awaited = Awaited::new(&completions, 7);
        (completions, awaited)
    }

    #[test]
    fn all_receipts_are_awaited_and_a_lost_one_gives_up() {
        let (completions, awaited) = awaited();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (first, second) = (awaited.receipt(0, &"a".into()), awaited.receipt(3, &"b".into()));
        awaited.published();
        assert_eq!(completions.poll(&mut cx), Poll::Pending);
        first.handled();
        assert_eq!(completions.poll(&mut cx), Poll::Pending);
        drop(second);
        assert_eq!(completions.poll(&mut cx), Poll::Ready(vec![7]));
        let given_up = vec!["b".to_owned()];
        assert_eq!(awaited.take_results(), [EventResult { index: 3, given_up, ..Default::default() }]);
    }

    #[test]
    fn what_is_recorded_is_awaited_too() {
        let (completions, awaited) = awaited();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let ticket = awaited.ticket();
        awaited.published();
        ticket.duplicate(1);
        ticket.refuse(2, Code::ResourceExhausted, "full");
        let receipt = ticket.receipt(0, &"a".into());
        drop(ticket);
        assert_eq!(completions.poll(&mut cx), Poll::Pending, "a handler is at it");
        receipt.handled();
        assert_eq!(completions.poll(&mut cx), Poll::Ready(vec![7]));
        let results = awaited.take_results();
        assert_eq!(results.len(), 2);
        assert!(results[0].duplicate && results[1].code == Code::ResourceExhausted as i32);
    }

    #[test]
    fn who_has_no_subscribers_waits_for_nobody() {
        let (completions, awaited) = awaited();
        awaited.published();
        assert!(completions.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    }
}
