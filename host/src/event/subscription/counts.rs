//! What a subscription has done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::super::entries::{Outcome, Settled};
use super::super::parcel::Parcel;

/// Counts since the subscription began.
#[derive(Debug, Default)]
pub(in super::super) struct Counts {
    delivered: AtomicU64,
    redelivered: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    dropped: AtomicU64,
    /// Milliseconds of the clock when something was delivered.
    last: AtomicU64,
}

/// The counts at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    pub(crate) given_up: u64,
    pub(crate) dropped: u64,
    /// Milliseconds since 1970; 0: never.
    pub(crate) last: u64,
}

impl Counted {
    /// These and those.
    pub(in super::super) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.redelivered += other.redelivered;
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.given_up += other.given_up;
        self.dropped += other.dropped;
        self.last = self.last.max(other.last);
    }
}

impl Counts {
    pub(super) fn delivered(&self, parcel: &Parcel) {
        let again = parcel.again() as u64;
        if parcel.count() > 0 {
            self.delivered.fetch_add(parcel.count() as u64 - again, Ordering::Relaxed);
            self.redelivered.fetch_add(again, Ordering::Relaxed);
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.last.store(now.as_millis() as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn settled(&self, settled: &Settled) {
        match settled {
            Settled::Done(Outcome::Handled) => self.acknowledged.fetch_add(1, Ordering::Relaxed),
            Settled::Again | Settled::GivenUp(_) => self.failed.fetch_add(1, Ordering::Relaxed),
            Settled::Done(Outcome::Unchanged) | Settled::Unknown => 0,
        };
    }

    pub(super) fn overdue(&self, deliveries: usize) {
        self.failed.fetch_add(deliveries as u64, Ordering::Relaxed);
    }

    pub(super) fn given_up(&self, events: usize) {
        self.given_up.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, events: usize) {
        if events > 0 {
            self.dropped.fetch_add(events as u64, Ordering::Relaxed);
        }
    }

    /// What they are now.
    pub(in super::super) fn read(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            delivered: read(&self.delivered),
            redelivered: read(&self.redelivered),
            acknowledged: read(&self.acknowledged),
            failed: read(&self.failed),
            given_up: read(&self.given_up),
            dropped: read(&self.dropped),
            last: read(&self.last),
        }
    }
}
