//! What becomes of deliveries.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use super::member::Deadline;
use super::{Entries, Entry, MemberId};

/// What a handler said, or what was concluded from its silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Failure {
    /// For people.
    pub(in super::super) reason: String,
    /// When to deliver it again; `None`: as the subscription has it.
    pub(in super::super) delay: Option<Duration>,
    /// It never can be handled.
    pub(in super::super) is_final: bool,
}

/// Why an event was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Cause {
    /// It was delivered as often as it may be.
    MaxAttempts,
    /// A handler said that it never can be handled.
    Rejected,
}

/// An event for the dead letters.
#[derive(Debug)]
pub(in super::super) struct GivenUp {
    pub(in super::super) entry: Entry,
    pub(in super::super) cause: Cause,
    pub(in super::super) reason: String,
}

/// What an answer of a member came to.
#[derive(Debug)]
pub(in super::super) enum Settled {
    /// The answer was taken.
    Done(Outcome),
    /// It will be delivered again.
    Again,
    /// It goes to the dead letters.
    GivenUp(Box<GivenUp>),
    /// There never was such a delivery.
    Unknown,
}

/// What an answer that was taken changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Outcome {
    /// The event is done.
    Handled,
    /// Nothing: it was answered before, or its deadline begins anew.
    Unchanged,
}

/// What was due.
#[derive(Debug, Default)]
pub(in super::super) struct Due {
    /// For the dead letters.
    pub(in super::super) given_up: Vec<GivenUp>,
    /// Deliveries that were not answered in time.
    pub(in super::super) overdue: usize,
}

/// An event that waits to be delivered again.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) at: Instant,
    entry: Entry,
}

impl Entries {
    /// A delivery was handled.
    pub(in super::super) fn handled(&mut self, id: MemberId, number: u64) -> Settled {
        let entry = match self.answered(id, number) {
            Ok(entry) => entry,
            Err(settled) => return settled,
        };
        self.load.bytes -= entry.event.len();
        let key = entry.key;
        self.is_done(entry, true);
        self.release_key(key);
        Settled::Done(Outcome::Handled)
    }

    /// A delivery was not handled.
    pub(in super::super) fn failed(
        &mut self,
        id: MemberId,
        number: u64,
        failure: Failure,
        now: Instant,
    ) -> Settled {
        match self.answered(id, number) {
            Ok(entry) => self.fail(entry, failure, now),
            Err(settled) => settled,
        }
    }

    /// A delivery is still being handled: its deadline begins anew.
    pub(in super::super) fn in_progress(&mut self, id: MemberId, number: u64, now: Instant) -> Settled {
        let (Some(redelivery), Some(member)) = (&self.redelivery, self.members.get_mut(&id)) else {
            return Settled::Unknown;
        };
        if number >= member.window.next() {
            return Settled::Unknown;
        }
        let at = now + redelivery.ack_deadline;
        if let Some(delivered) = member.window.get_mut(number) {
            delivered.deadline = at;
            self.deadlines.push_back(Deadline { at, member: id, number });
        }
        Settled::Done(Outcome::Unchanged)
    }

    /// Does what is due: deadlines that have passed, and pauses that are over.
    pub(in super::super) fn on_time(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        while let Some(deadline) = self.deadlines.front().copied().filter(|deadline| deadline.at <= now) {
            self.deadlines.pop_front();
            if let Some(settled) = self.overdue(deadline, now) {
                due.overdue += 1;
                if let Settled::GivenUp(given_up) = settled {
                    due.given_up.push(*given_up);
                }
            }
        }
        while self.delayed.peek().is_some_and(|delayed| delayed.at <= now) {
            if let Some(Delayed { entry, .. }) = self.delayed.pop() {
                self.offer(entry);
            }
        }
        due
    }

    /// A deadline that has passed. `None`: the delivery was answered, or put off.
    fn overdue(&mut self, deadline: Deadline, now: Instant) -> Option<Settled> {
        let member = self.members.get_mut(&deadline.member)?;
        // One that was put off has another deadline further behind.
        member.window.get_mut(deadline.number).filter(|delivered| delivered.deadline <= now)?;
        let within = self.redelivery.as_ref()?.ack_deadline;
        let failure = Failure {
            reason: format!("not acknowledged within {}", humantime::format_duration(within)),
            // The deadline was pause enough.
            delay: Some(Duration::ZERO),
            is_final: false,
        };
        Some(self.failed(deadline.member, deadline.number, failure, now))
    }

    /// Takes an answered delivery out of the window of its member.
    fn answered(&mut self, id: MemberId, number: u64) -> Result<Entry, Settled> {
        let member = self.members.get_mut(&id).ok_or(Settled::Unknown)?;
        if number == 0 || number >= member.window.next() {
            return Err(Settled::Unknown);
        }
        let entry = member.window.remove(number).ok_or(Settled::Done(Outcome::Unchanged))?;
        self.in_flight -= 1;
        if !member.is_open && member.window.is_empty() {
            self.members.remove(&id);
        }
        Ok(entry)
    }

    fn fail(&mut self, mut entry: Entry, failure: Failure, now: Instant) -> Settled {
        let Some(redelivery) = &self.redelivery else { return Settled::Unknown };
        if failure.is_final {
            return Settled::GivenUp(Box::new(self.give_up(entry, Cause::Rejected, failure.reason)));
        }
        if self.is_last_attempt(&entry) {
            return Settled::GivenUp(Box::new(self.give_up(entry, Cause::MaxAttempts, failure.reason)));
        }
        let pause = failure.delay.unwrap_or_else(|| redelivery.backoff.delay(entry.attempts));
        if !redelivery.blocks_key {
            self.release_key(entry.key.take());
        }
        if let (Some(progress), Some(place)) = (&mut self.progress, entry.place) {
            progress.failed(place, entry.attempts);
        }
        self.load.events += 1;
        self.delayed.push(Delayed { at: now + pause, entry });
        Settled::Again
    }

    pub(super) fn is_last_attempt(&self, entry: &Entry) -> bool {
        self.redelivery.as_ref().is_some_and(|redelivery| entry.attempts >= redelivery.max_attempts)
    }

    /// Takes an event that is not in flight any more out of the subscription.
    pub(super) fn give_up(&mut self, entry: Entry, cause: Cause, reason: String) -> GivenUp {
        self.load.bytes -= entry.event.len();
        self.release_key(entry.key);
        self.place_is_done(entry.place, false);
        GivenUp { entry, cause, reason }
    }

    /// The event of a key that was at is done: the next one may be delivered.
    pub(super) fn release_key(&mut self, key: Option<u64>) {
        let Some(key) = key else { return };
        let Some(state) = self.keys.get_mut(&key) else { return };
        match state.behind.pop_front() {
            Some(next) => self.offer(next),
            None => drop(self.keys.remove(&key)),
        }
    }
}

impl Ord for Delayed {
    /// The earliest is the greatest, since a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.entry.arrival).cmp(&(self.at, self.entry.arrival))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Delayed {}
