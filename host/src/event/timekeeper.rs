//! When to look at which subscription.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::subscription::Subscription;

/// One clock for all subscriptions: acknowledgements that are overdue, and pauses that are over.
#[derive(Debug, Default)]
pub(super) struct Timekeeper {
    due: Mutex<Due>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Due {
    times: BinaryHeap<Reverse<(Instant, u64)>>,
    subscriptions: BTreeMap<u64, Weak<Subscription>>,
    next: u64,
}

impl Timekeeper {
    /// Has a subscription looked at when it is time, and earlier if somebody else asked for that.
    pub(super) fn schedule(&self, at: Instant, subscription: &Arc<Subscription>) {
        if !subscription.wants_to_be_woken(at) {
            return;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let number = due.next;
        due.next += 1;
        due.subscriptions.insert(number, Arc::downgrade(subscription));
        due.times.push(Reverse((at, number)));
        if due.times.peek() == Some(&Reverse((at, number))) {
            self.earlier.notify_one();
        }
    }

    /// Waits for the next one. Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Arc<Subscription> {
        loop {
            let earlier = self.earlier.notified();
            match self.first() {
                Ok(subscription) => return subscription,
                Err(Some(at)) => drop(tokio::time::timeout_at(at.into(), earlier).await),
                Err(None) => earlier.await,
            }
        }
    }

    /// The first that is due, or when it will be.
    fn first(&self) -> Result<Arc<Subscription>, Option<Instant>> {
        let now = super::bus::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Reverse((at, number))) = due.times.peek().copied() {
            if at > now {
                return Err(Some(at));
            }
            due.times.pop();
            if let Some(subscription) = due.subscriptions.remove(&number).and_then(|weak| weak.upgrade()) {
                return Ok(subscription);
            }
        }
        Err(None)
    }
}
