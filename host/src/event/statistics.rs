//! What the bus has done and is doing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bus::Bus;
use super::open::Events;
use super::subscription::{Counted, Subscription};

/// Stands for the subscriptions without a name of their own: those of whoever looks on come and go.
const OTHERS: &str = "_OTHER";

/// Names that are told apart: each costs ten series, and whoever subscribes may make some up.
const MAX_NAMES: usize = 1000;

/// What the bus has done since the host started, and is doing now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) published: u64,
    pub(crate) published_bytes: u64,
    pub(crate) refused: u64,
    pub(crate) duplicates: u64,
    pub(crate) participants: u64,
    /// By name; those without one of their own are one.
    pub(crate) subscriptions: Vec<SubscriptionStatistics>,
    pub(crate) journal: Option<JournalStatistics>,
}

/// What subscriptions of a name have done and are doing.
#[derive(Clone, Debug)]
pub(crate) struct SubscriptionStatistics {
    pub(crate) name: Arc<str>,
    pub(crate) counted: Counted,
    pub(crate) queued: u64,
    pub(crate) in_flight: u64,
    pub(crate) lag: u64,
    pub(crate) blocked_publishers: u64,
}

/// What the journal holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalStatistics {
    pub(crate) events: u64,
    pub(crate) dead_letters: u64,
}

impl SubscriptionStatistics {
    /// Those of a subscription. `last` is the last place of the journal.
    pub(super) fn of(subscription: &Subscription, last: u64) -> Self {
        let (queued, in_flight) = subscription.load();
        Self {
            name: subscription.name.clone(),
            counted: subscription.counts.read(),
            queued: queued as u64,
            in_flight: in_flight as u64,
            lag: subscription.lag(last),
            blocked_publishers: subscription.blocked_publishers() as u64,
        }
    }

    fn nothing(name: &str) -> Self {
        let counted = Counted::default();
        Self { name: name.into(), counted, queued: 0, in_flight: 0, lag: 0, blocked_publishers: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.counted.add(&other.counted);
        self.queued += other.queued;
        self.in_flight += other.in_flight;
        self.lag += other.lag;
        self.blocked_publishers += other.blocked_publishers;
    }
}

impl Events {
    /// What the bus has done and is doing.
    pub(crate) fn statistics(&self) -> Statistics {
        let bus: &Bus = self.bus();
        let journal = bus.durable().map(|durable| &durable.journal);
        let last = journal.map_or(0, |journal| journal.last_place());
        let mut named = BTreeMap::<Arc<str>, SubscriptionStatistics>::new();
        let mut others = SubscriptionStatistics::nothing(OTHERS);
        others.counted.add(&bus.ended());
        for subscription in bus.subscriptions() {
            let one = SubscriptionStatistics::of(&subscription, last);
            match subscription.spec.identity() {
                Some(_) if named.len() < MAX_NAMES || named.contains_key(&one.name) => {
                    let all = named.entry(one.name.clone());
                    all.or_insert_with(|| SubscriptionStatistics::nothing(&one.name)).add(&one);
                }
                _ => others.add(&one),
            }
        }
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Statistics {
            published: read(&bus.counts.published),
            published_bytes: read(&bus.counts.published_bytes),
            refused: read(&bus.counts.refused),
            duplicates: read(&bus.counts.duplicates),
            participants: bus.participants() as u64,
            subscriptions: named.into_values().chain([others]).collect(),
            journal: journal.map(|journal| JournalStatistics {
                events: journal.events(),
                dead_letters: journal.count_of_dead_letters(),
            }),
        }
    }
}
