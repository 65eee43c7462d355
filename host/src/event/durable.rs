//! Durable topics: what keeps their events, and who works for it.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use plugmesh::event::Pattern;
use tokio::sync::{Notify, mpsc};

use super::journal::StreamId;
use super::log::Log;
use super::recorder::{MAX_WAITING, Recording};
use super::subscription::Subscription;

/// The durable side of a bus.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) log: Log,
    topics: Vec<(Pattern, StreamId)>,
    /// Up to this place events have been given to those who are live, or are about to be.
    pub(super) head: AtomicU64,
    /// Up to this place they have been.
    pub(super) delivered: AtomicU64,
    /// To the recorder.
    pub(super) recordings: mpsc::Sender<Recording>,
    /// For the feeder.
    pub(super) hungry: Todo,
    /// For the keeper.
    pub(super) unsaved: Todo,
}

impl Durable {
    /// Topics that are kept in these streams of a log. What is to be recorded comes out of the receiver.
    pub(super) fn new(log: Log, topics: Vec<(Pattern, StreamId)>) -> (Self, mpsc::Receiver<Recording>) {
        let (recordings, to_record) = mpsc::channel(MAX_WAITING);
        let last = log.last_place();
        let durable = Self {
            log,
            topics,
            head: AtomicU64::new(last),
            delivered: AtomicU64::new(last),
            recordings,
            hungry: Todo::new(Worker::Feeder),
            unsaved: Todo::new(Worker::Keeper),
        };
        (durable, to_record)
    }

    /// Where the events of a topic are kept. `None`: they are not.
    pub(super) fn stream_of(&self, topic: &str) -> Option<StreamId> {
        self.topics.iter().find(|(pattern, _)| pattern.matches(topic)).map(|(_, stream)| *stream)
    }

    /// What says in the configuration which topics are kept.
    pub(super) fn key(&self) -> &'static str {
        match self.log.shares_names() {
            false => "events.journal.topics",
            true => "events.nats.topics",
        }
    }

    /// The topics of a stream, by its name.
    pub(super) fn pattern_of(&self, stream: &str) -> Option<&Pattern> {
        self.topics.iter().map(|(pattern, _)| pattern).find(|pattern| pattern.as_str() == stream)
    }

    /// The topics that are kept.
    pub(super) fn patterns(&self) -> Arc<[Pattern]> {
        self.topics.iter().map(|(pattern, _)| pattern.clone()).collect()
    }
}

/// Who has to look at subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    Feeder,
    Keeper,
}

/// Subscriptions that somebody has to look at, each of them once.
#[derive(Debug)]
pub(super) struct Todo {
    worker: Worker,
    subscriptions: Mutex<VecDeque<Arc<Subscription>>>,
    added: Notify,
}

impl Todo {
    fn new(worker: Worker) -> Self {
        Self { worker, subscriptions: Mutex::default(), added: Notify::new() }
    }

    /// Has a subscription looked at.
    pub(super) fn add(&self, subscription: &Arc<Subscription>) {
        if !subscription.mark(self.worker) {
            self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).push_back(subscription.clone());
            self.added.notify_one();
        }
    }

    /// All that wait now.
    pub(super) fn take(&self) -> VecDeque<Arc<Subscription>> {
        let all = std::mem::take(&mut *self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner));
        // Before anybody looks at them, so that what happens meanwhile is looked at again.
        all.iter().for_each(|subscription| subscription.unmark(self.worker));
        all
    }

    /// Waits until there is one. For one task; dropping the future loses nothing.
    pub(super) async fn some(&self) {
        loop {
            let added = self.added.notified();
            if !self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
            added.await;
        }
    }
}
