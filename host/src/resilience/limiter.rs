//! A limit on how many calls are under way, with a bounded queue.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// One call in flight, in the word that holds both counts.
const IN_FLIGHT: u64 = 1;

/// One call in the queue.
const WAITING: u64 = 1 << 32;

/// Lets a bounded number of calls through; a bounded number of others wait for a bounded time, first come
/// first served.
///
/// Not a semaphore of tokio, which takes a lock each time a permit comes back. Here that is one atomic, as
/// taking is, unless somebody waits.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: AtomicU32,
    max_queued: u32,
    max_wait: Duration,
    /// Calls in flight (low half) and in the queue (high half). One word, so that who leaves sees who waits,
    /// and who is about to wait sees who has left.
    counts: AtomicU64,
    /// Changed together with the second count.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// By order of arrival. Told once the call counts as in flight.
    waiters: BTreeMap<u64, oneshot::Sender<()>>,
    next: u64,
}

/// The right of one call to be under way. Dropping it lets the next one in.
#[must_use = "dropping a permit gives it back"]
#[derive(Debug)]
pub(crate) struct Permit {
    limiter: Arc<Limiter>,
}

/// Why a call was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Shed {
    /// As many calls as may wait were waiting.
    #[error("the queue is full")]
    QueueFull,
    /// It waited as long as calls may wait.
    #[error("no call ended within the longest wait")]
    WaitedTooLong,
    /// Its own deadline came first.
    #[error("the deadline passed in the queue")]
    DeadlinePassed,
}

/// A place in the queue. Whether it is still there, or has become a call in flight, is known under the lock
/// only.
struct Place {
    limiter: Arc<Limiter>,
    number: u64,
    called: oneshot::Receiver<()>,
    /// Whether a permit was made of it, or it was given up.
    done: bool,
}

enum Entry {
    In(Permit),
    Queued(Place),
}

impl Limiter {
    /// Lets `max_in_flight` calls through, and as many as `max_queued` wait for as long as `max_wait`. A limit
    /// of zero lets none through.
    pub(crate) fn new(max_in_flight: u32, max_queued: u32, max_wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU32::new(max_in_flight),
            max_queued,
            max_wait,
            counts: AtomicU64::new(0),
            queue: Mutex::default(),
        })
    }

    /// A permit, if there is one and nobody waits for it.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let enter =
            |counts| (waiting(counts) == 0 && in_flight(counts) < self.limit()).then_some(counts + IN_FLIGHT);
        self.counts.fetch_update(Relaxed, Relaxed, enter).ok()?;
        Some(Permit { limiter: Arc::clone(self) })
    }

    /// A permit, at once or after a wait in the queue that ends with `deadline` at the latest. Dropping the
    /// future gives up the place.
    pub(crate) async fn acquire(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Permit, Shed> {
        match self.try_acquire() {
            Some(permit) => Ok(permit),
            None => self.wait(deadline).await,
        }
    }

    /// Changes how many calls may be under way. With less than there are, none is let in until enough have
    /// ended; with more, those who wait come in at once.
    pub(crate) fn set_limit(&self, max_in_flight: u32) {
        self.limit.store(max_in_flight, Relaxed);
        self.admit();
    }

    /// How many calls may be under way.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// How many are.
    pub(crate) fn in_flight(&self) -> u32 {
        in_flight(self.counts.load(Relaxed))
    }

    /// How many wait.
    pub(crate) fn queued(&self) -> u32 {
        waiting(self.counts.load(Relaxed))
    }

    async fn wait(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Permit, Shed> {
        let longest = Instant::now().checked_add(self.max_wait);
        let mut place = match self.enter()? {
            Entry::In(permit) => return Ok(permit),
            Entry::Queued(place) => place,
        };
        let (end, shed) = match (deadline, longest) {
            (Some(deadline), longest) if longest.is_none_or(|longest| deadline <= longest) => {
                (Some(deadline), Shed::DeadlinePassed)
            }
            (_, longest) => (longest, Shed::WaitedTooLong),
        };
        let called = match end {
            Some(end) => timeout_at(end, &mut place.called).await.is_ok(),
            None => (&mut place.called).await.is_ok(),
        };
        // It may have been called in the moment in which it gave up.
        if called || !place.leave() { Ok(place.into_permit()) } else { Err(shed) }
    }

    /// In, or into the queue.
    fn enter(self: &Arc<Self>) -> Result<Entry, Shed> {
        let mut queue = self.queue();
        let is_full = queue.waiters.len() >= self.max_queued as usize;
        let mut counts = self.counts.load(Relaxed);
        loop {
            let has_room = waiting(counts) == 0 && in_flight(counts) < self.limit();
            if !has_room && is_full {
                return Err(Shed::QueueFull);
            }
            // A call that ends before this sees nobody waiting, and then this fails and looks again. One that
            // ends after it sees us, and waits for the lock until our place is there.
            let next = counts + if has_room { IN_FLIGHT } else { WAITING };
            match self.counts.compare_exchange_weak(counts, next, Relaxed, Relaxed) {
                Ok(_) if has_room => return Ok(Entry::In(Permit { limiter: Arc::clone(self) })),
                Ok(_) => break,
                Err(changed) => counts = changed,
            }
        }
        let (sender, called) = oneshot::channel();
        let number = queue.next;
        queue.next += 1;
        queue.waiters.insert(number, sender);
        Ok(Entry::Queued(Place { limiter: Arc::clone(self), number, called, done: false }))
    }

    /// Lets in as many of those who wait as there is room for.
    fn admit(&self) {
        loop {
            let mut queue = self.queue();
            let enter = |counts| {
                let may = waiting(counts) > 0 && in_flight(counts) < self.limit();
                may.then(|| counts - WAITING + IN_FLIGHT)
            };
            if self.counts.fetch_update(Relaxed, Relaxed, enter).is_err() {
                return;
            }
            let Some((_, sender)) = queue.waiters.pop_first() else { return };
            drop(queue);
            // Who has just given up finds that its place is gone, and lets the next one in.
            let _ = sender.send(());
        }
    }

    fn release(&self) {
        if waiting(self.counts.fetch_sub(IN_FLIGHT, Relaxed)) > 0 {
            self.admit();
        }
    }

    /// Nothing that is done under the lock can panic half-way.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Gives up the place. `false` when it has become a call in flight before.
    fn leave(&mut self) -> bool {
        let mut queue = self.limiter.queue();
        let was_there = queue.waiters.remove(&self.number).is_some();
        if was_there {
            self.limiter.counts.fetch_sub(WAITING, Relaxed);
            self.done = true;
        }
        was_there
    }

    /// For a call that counts as in flight.
    fn into_permit(mut self) -> Permit {
        self.done = true;
        Permit { limiter: Arc::clone(&self.limiter) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.done && !self.leave() {
            self.limiter.release();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.release();
    }
}

fn in_flight(counts: u64) -> u32 {
    counts as u32
}

fn waiting(counts: u64) -> u32 {
    (counts >> 32) as u32
}

#[cfg(test)]
mod tests;
