//! What a publisher has looked up.

use std::collections::HashMap;
use std::sync::Arc;

use super::bus::Bus;
use super::journal::StreamId;
use super::subscription::Subscription;

/// Topics that a publisher keeps at most: who publishes more different ones looks some of them up again.
const MAX_TOPICS: usize = 1024;

/// Who wants a topic.
#[derive(Debug)]
pub(super) struct Matches {
    pub(super) subscriptions: Vec<Arc<Subscription>>,
    /// All of them take events side by side and ask nothing of any of them.
    pub(super) take_runs: bool,
    /// The publisher may publish it.
    pub(super) is_allowed: bool,
    /// Where it is kept, if it is durable.
    pub(super) stream: Option<StreamId>,
}

/// Who wants the topics that a publisher publishes, until a subscription comes or goes.
#[derive(Debug, Default)]
pub(super) struct MatchCache {
    version: u64,
    topics: HashMap<Box<str>, Arc<Matches>>,
    /// What was looked up last, which is what is looked up next more often than not.
    last: Option<(Box<str>, Arc<Matches>)>,
}

impl MatchCache {
    /// The version of the topics that the last look was at.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Who wants a topic now.
    pub(super) fn look_up(
        &mut self,
        topic: &str,
        bus: &Bus,
        is_allowed: impl FnOnce(&str) -> bool,
    ) -> Arc<Matches> {
        let version = bus.topics.version();
        if version != self.version {
            // What is looked up from here on is at least as new as this version.
            self.topics.clear();
            self.last = None;
            self.version = version;
        }
        if let Some((last, matches)) = &self.last
            && **last == *topic
        {
            return matches.clone();
        }
        let matches = match self.topics.get(topic) {
            Some(matches) => matches.clone(),
            None => self.add(topic, bus, is_allowed(topic)),
        };
        self.last = Some((topic.into(), matches.clone()));
        matches
    }

    fn add(&mut self, topic: &str, bus: &Bus, is_allowed: bool) -> Arc<Matches> {
        let subscriptions = bus.topics.matching(topic);
        let stream = bus.durable().and_then(|durable| durable.stream_of(topic));
        let take_runs = subscriptions.iter().all(|subscription| subscription.takes_runs());
        let matches = Arc::new(Matches { subscriptions, take_runs, is_allowed, stream });
        if self.topics.len() == MAX_TOPICS {
            self.topics.clear();
        }
        self.topics.insert(topic.into(), matches.clone());
        matches
    }
}
