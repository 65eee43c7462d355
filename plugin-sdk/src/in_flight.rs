//! How many calls are being worked on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts calls from their arrival until the response body has ended or was dropped.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    count: AtomicUsize,
    started: AtomicU64,
    none_left: Notify,
}

/// One call; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Guard(Arc<InFlight>);

impl InFlight {
    pub(crate) fn enter(self: &Arc<Self>) -> Guard {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::AcqRel);
        Guard(Arc::clone(self))
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Returns at a moment when nothing is in flight.
    pub(crate) async fn none_left(&self) {
        loop {
            let mut left = std::pin::pin!(self.none_left.notified());
            // Registered before the count is read, else a call that ends in between is missed.
            left.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Returns once nothing has been in flight for `time` without a break.
    pub(crate) async fn idle_for(&self, time: Duration) {
        loop {
            self.none_left().await;
            let started = self.started.load(Ordering::Relaxed);
            tokio::time::sleep(time).await;
            if self.count() == 0 && self.started.load(Ordering::Relaxed) == started {
                return;
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_time_starts_anew_with_each_call() {
        let in_flight = Arc::new(InFlight::default());
        let idle = tokio::spawn({
            let in_flight = Arc::clone(&in_flight);
            async move { in_flight.idle_for(Duration::from_secs(10)).await }
        });
        tokio::time::sleep(Duration::from_secs(9)).await;
        let call = in_flight.enter();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!idle.is_finished(), "a call was in flight");
        drop(call);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(!idle.is_finished(), "idle for 9 s of 10 only");
        idle.await.unwrap();
    }

    #[tokio::test]
    async fn waits_for_the_last_call() {
        let in_flight = Arc::new(InFlight::default());
        let (first, second) = (in_flight.enter(), in_flight.enter());
        let waiter = tokio::spawn({
            let in_flight = Arc::clone(&in_flight);
            async move { in_flight.none_left().await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(second);
        waiter.await.unwrap();
    }
}
