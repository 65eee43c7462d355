//! The bus: who subscribed to what, and what becomes of events that nobody could handle.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::dead_letters::{DeadLetter, DeadLetters};
use super::entries::{MemberId, Signal};
use super::outbox::{End, Outbox};
use super::subscription::{Consequences, Identity, Mode, Spec, Subscription};
use super::timekeeper::Timekeeper;
use super::topics::Topics;

/// How long a group whose events come back until they are acknowledged is kept when its last member has gone: a member that is
/// restarted or reconnects finds everything as it was.
const LINGER: Duration = Duration::from_secs(30);

/// What participants may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of an event.
    pub(super) event_bytes: usize,
    /// Bytes of a frame.
    pub(super) frame_bytes: usize,
    /// Events of a frame.
    pub(super) frame_events: usize,
    /// Subscriptions of a participant.
    pub(super) subscriptions: usize,
    /// Events that a participant may have on their way to subscriptions.
    pub(super) publish_events: u64,
    /// Bytes of these.
    pub(super) publish_bytes: u64,
}

impl Default for Limits {
    /// A megabyte an event, as brokers have it; the rest lets a publisher that never waits keep both sides busy.
    fn default() -> Self {
        Self {
            event_bytes: 1 << 20,
            frame_bytes: 4 << 20,
            frame_events: 4096,
            subscriptions: 10_000,
            publish_events: 16_384,
            publish_bytes: 8 << 20,
        }
    }
}

/// Counts since the host started.
#[derive(Debug, Default)]
pub(super) struct BusCounts {
    pub(super) published: AtomicU64,
    pub(super) published_bytes: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Milliseconds since 1970 when the last event was published; 0: never.
    pub(super) last: AtomicU64,
}

/// The bus of a host.
#[derive(Debug)]
pub(super) struct Bus {
    pub(super) limits: Limits,
    pub(super) topics: Topics<Subscription>,
    pub(super) counts: BusCounts,
    pub(super) dead_letters: DeadLetters,
    groups: Mutex<HashMap<Identity, Arc<Subscription>>>,
    timekeeper: Timekeeper,
    ids: AtomicU64,
    participants: Mutex<Participants>,
}

/// Everybody who takes part.
#[derive(Debug, Default)]
struct Participants {
    outboxes: Vec<Arc<Outbox>>,
    /// The host goes: nobody is let in any more.
    is_draining: bool,
}

impl Bus {
    /// A bus without anybody. `first_id` is what its numbers begin with: above all of earlier runs.
    pub(super) fn new(limits: Limits, first_id: u64) -> Arc<Self> {
        Arc::new(Self {
            limits,
            topics: Topics::default(),
            counts: BusCounts::default(),
            dead_letters: DeadLetters::default(),
            groups: Mutex::default(),
            timekeeper: Timekeeper::default(),
            ids: AtomicU64::new(first_id),
            participants: Mutex::default(),
        })
    }

    /// Does what is due until it is dropped.
    pub(super) async fn keep_time(&self) {
        loop {
            let subscription = self.timekeeper.next().await;
            self.on_time(&subscription);
        }
    }

    /// Somebody begins to take part.
    pub(super) fn attach(&self, outbox: &Arc<Outbox>) {
        let mut participants = self.participants.lock().unwrap_or_else(PoisonError::into_inner);
        participants.outboxes.push(outbox.clone());
        if participants.is_draining {
            outbox.close(End::ShuttingDown);
        }
    }

    /// Somebody takes part no more.
    pub(super) fn detach(&self, outbox: &Arc<Outbox>) {
        let mut participants = self.participants.lock().unwrap_or_else(PoisonError::into_inner);
        participants.outboxes.retain(|other| !Arc::ptr_eq(other, outbox));
    }

    /// How many take part.
    pub(super) fn participants(&self) -> usize {
        self.participants.lock().unwrap_or_else(PoisonError::into_inner).outboxes.len()
    }

    /// Delivers nothing any more, and ends every stream.
    pub(super) fn drain(&self) {
        let mut participants = self.participants.lock().unwrap_or_else(PoisonError::into_inner);
        participants.is_draining = true;
        participants.outboxes.iter().for_each(|outbox| outbox.close(End::ShuttingDown));
    }

    /// A number that no participant of this host has had.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a member to a subscription, which is made unless its group is there. Every event that is published after this returns is
    /// for it as well.
    pub(super) fn subscribe(
        &self,
        spec: Spec,
        who: &str,
        id: MemberId,
        signal: Arc<dyn Signal>,
    ) -> Arc<Subscription> {
        let Some(identity) = spec.identity() else {
            let subscription = Subscription::new(who.into(), spec);
            subscription.join(id, signal);
            self.topics.insert(&subscription.spec.patterns, &subscription);
            return subscription;
        };
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        match groups.entry(identity) {
            Entry::Occupied(group) => {
                group.get().join(id, signal);
                group.get().clone()
            }
            Entry::Vacant(vacant) => {
                let subscription = Subscription::new(spec.group_name(who).into(), spec);
                subscription.join(id, signal);
                vacant.insert(subscription.clone());
                self.topics.insert(&subscription.spec.patterns, &subscription);
                subscription
            }
        }
    }

    /// A member takes no more events, but may answer for those that it has.
    pub(super) fn close(&self, subscription: &Arc<Subscription>, id: MemberId) {
        subscription.close(id);
        self.tidy(subscription);
    }

    /// A member is gone.
    pub(super) fn leave(&self, subscription: &Arc<Subscription>, id: MemberId) {
        let consequences = subscription.leave(id);
        self.after(subscription, consequences);
        self.tidy(subscription);
    }

    /// Sees to what a subscription left to be done.
    pub(super) fn after(&self, subscription: &Arc<Subscription>, consequences: Consequences) {
        for given_up in consequences.given_up {
            self.dead_letters.add(&subscription.name, given_up);
        }
        if let Some(due) = consequences.due {
            self.timekeeper.schedule(due, subscription);
        }
    }

    fn on_time(&self, subscription: &Arc<Subscription>) {
        let consequences = subscription.on_time(now());
        self.after(subscription, consequences);
        self.tidy(subscription);
    }

    /// Ends a subscription that nobody takes part in any more.
    fn tidy(&self, subscription: &Arc<Subscription>) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let lingers = subscription.spec.mode == Mode::AtLeastOnce && subscription.spec.identity().is_some();
        match subscription.unused_since(now()) {
            None => return,
            Some(since) if lingers && now() < since + LINGER => {
                self.timekeeper.schedule(since + LINGER, subscription);
                return;
            }
            Some(_) => {}
        }
        if let Some(identity) = subscription.spec.identity() {
            groups.remove(&identity);
        }
        drop(groups);
        self.topics.remove(&subscription.spec.patterns, subscription);
    }

    /// Delivers events once more to those who gave them up. Gives how many, and why others could not be.
    pub(super) fn redrive(&self, letters: Vec<DeadLetter>) -> (usize, Vec<String>) {
        let subscriptions = self.subscriptions();
        let (mut count, mut problems, mut back) = (0, Vec::new(), Vec::new());
        for letter in letters {
            match subscriptions.iter().find(|subscription| subscription.name == letter.subscription) {
                Some(subscription) if subscription.push_again(&letter.event) => count += 1,
                Some(subscription) => {
                    problems.push(format!("{}: the subscription {} is full", letter.id, subscription.name));
                    back.push(letter);
                }
                None => {
                    problems.push(format!("{}: there is no subscription {}", letter.id, letter.subscription));
                    back.push(letter);
                }
            }
        }
        self.dead_letters.put_back(back);
        (count, problems)
    }

    /// Every subscription, by name.
    pub(super) fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        let mut all = self.topics.all();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

/// The time, which tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
