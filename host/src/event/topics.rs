//! Who wants which topic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use plugmesh::event::{Pattern, Token};

/// Subscriptions by the patterns of their topics: a tree with a level for each token.
///
/// Looking a topic up takes time that grows with its tokens, not with the subscriptions that it does not match.
#[derive(Debug)]
pub(super) struct Topics<T> {
    root: RwLock<Node<T>>,
    version: AtomicU64,
}

#[derive(Debug)]
struct Node<T> {
    literal: HashMap<Box<str>, Node<T>>,
    any: Option<Box<Node<T>>>,
    /// Those whose pattern ends here.
    here: Vec<Arc<T>>,
    /// Those whose pattern goes on with `>`.
    rest: Vec<Arc<T>>,
}

impl<T> Default for Topics<T> {
    fn default() -> Self {
        Self { root: RwLock::default(), version: AtomicU64::new(1) }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literal: HashMap::new(), any: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Topics<T> {
    /// Rises whenever a subscription comes or goes: what was looked up before may be kept until then.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Adds a subscription below each of its patterns. When this returns, every lookup finds it.
    pub(super) fn insert(&self, patterns: &[Pattern], subscription: &Arc<T>) {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        patterns.iter().for_each(|pattern| root.place(pattern).push(subscription.clone()));
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes a subscription out from below its patterns.
    pub(super) fn remove(&self, patterns: &[Pattern], subscription: &Arc<T>) {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        for pattern in patterns {
            let mut tokens = pattern.tokens();
            root.remove(&mut tokens, subscription);
        }
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Those who want a topic, each of them once, in the order of their addresses in memory: whoever locks several does it in the same
    /// order as everybody else.
    pub(super) fn matching(&self, topic: &str) -> Vec<Arc<T>> {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        root.collect(Some(topic), &mut found);
        drop(root);
        found.sort_unstable_by_key(Arc::as_ptr);
        found.dedup_by(|one, other| Arc::ptr_eq(one, other));
        found
    }
}

impl<T> Topics<T> {
    /// All subscriptions, each of them once.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        let mut found = Vec::new();
        self.root.read().unwrap_or_else(PoisonError::into_inner).collect_all(&mut found);
        found.sort_unstable_by_key(Arc::as_ptr);
        found.dedup_by(|one, other| Arc::ptr_eq(one, other));
        found
    }
}

impl<T> Node<T> {
    fn collect_all(&self, found: &mut Vec<Arc<T>>) {
        found.extend(self.here.iter().chain(&self.rest).cloned());
        self.literal.values().chain(self.any.as_deref()).for_each(|node| node.collect_all(found));
    }

    /// Where the subscriptions of a pattern are.
    fn place(&mut self, pattern: &Pattern) -> &mut Vec<Arc<T>> {
        let mut node = self;
        for token in pattern.tokens() {
            node = match token {
                Token::Literal(token) => node.literal.entry(token.into()).or_default(),
                Token::Any => node.any.get_or_insert_default(),
                Token::Rest => return &mut node.rest,
            };
        }
        &mut node.here
    }

    /// Removes a subscription, and the nodes that nobody needs any more.
    fn remove<'a>(&mut self, tokens: &mut impl Iterator<Item = Token<'a>>, subscription: &Arc<T>) {
        let is_other = |other: &Arc<T>| !Arc::ptr_eq(other, subscription);
        match tokens.next() {
            None => self.here.retain(is_other),
            Some(Token::Rest) => self.rest.retain(is_other),
            Some(Token::Any) => {
                if let Some(node) = &mut self.any {
                    node.remove(tokens, subscription);
                    if node.is_empty() {
                        self.any = None;
                    }
                }
            }
            Some(Token::Literal(token)) => {
                if let Some(node) = self.literal.get_mut(token) {
                    node.remove(tokens, subscription);
                    if node.is_empty() {
                        self.literal.remove(token);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    /// Adds those who want what is left of a topic; `None`: nothing is.
    fn collect(&self, topic: Option<&str>, found: &mut Vec<Arc<T>>) {
        let Some(topic) = topic else {
            found.extend(self.here.iter().cloned());
            return;
        };
        found.extend(self.rest.iter().cloned());
        let (token, left) = match topic.split_once('.') {
            Some((token, left)) => (token, Some(left)),
            None => (topic, None),
        };
        // A pattern has few tokens, and so this goes down a few levels at most, however many tokens a topic has.
        if let Some(node) = self.literal.get(token) {
            node.collect(left, found);
        }
        if let Some(node) = &self.any {
            node.collect(left, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_subscription_is_found_once_however_many_of_its_patterns_match() {
        let topics = Topics::default();
        let subscription = Arc::new(1);
        let patterns = patterns(&["user.login", "user.*", "user.>", ">"]);
        topics.insert(&patterns, &subscription);
        assert_eq!(topics.matching("user.login"), std::slice::from_ref(&subscription));
        assert_eq!(topics.matching("other"), [subscription]);
    }

    #[test]
    fn nothing_is_left_of_what_was_removed() {
        let topics = Topics::default();
        let (one, other) = (Arc::new(1), Arc::new(2));
        let patterns = patterns(&["a.b.c", "a.*.c", "a.>"]);
        topics.insert(&patterns, &one);
        topics.insert(&patterns, &other);
        let version = topics.version();
        topics.remove(&patterns, &one);
        assert!(topics.version() > version);
        assert_eq!(topics.matching("a.b.c"), std::slice::from_ref(&other));
        topics.remove(&patterns, &other);
        assert!(topics.root.read().unwrap().is_empty());
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "*"])
    }

    fn any_pattern() -> impl Strategy<Value = Pattern> {
        (prop::collection::vec(token(), 1..5), any::<bool>()).prop_map(|(mut tokens, rest)| {
            tokens.extend(rest.then_some(">"));
            tokens.join(".").parse().unwrap()
        })
    }

    proptest! {
        #[test]
        fn finds_exactly_those_whose_patterns_match(
            all in prop::collection::vec(prop::collection::vec(any_pattern(), 1..4), 0..20),
            gone in prop::collection::vec(any::<bool>(), 20),
            topics in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..7), 20),
        ) {
            let table = Topics::default();
            let all: Vec<_> = all.into_iter().map(Arc::new).collect();
            all.iter().for_each(|patterns| table.insert(patterns, patterns));
            let (gone, left): (Vec<_>, Vec<_>) = all.iter().zip(gone).partition(|(_, gone)| *gone);
            gone.iter().for_each(|(patterns, _)| table.remove(patterns, patterns));
            for topic in topics {
                let topic = topic.join(".");
                let expected = left.iter().filter(|(patterns, _)| patterns.iter().any(|p| p.matches(&topic)));
                let mut expected: Vec<_> = expected.map(|(patterns, _)| Arc::as_ptr(patterns)).collect();
                expected.sort_unstable();
                let found: Vec<_> = table.matching(&topic).iter().map(Arc::as_ptr).collect();
                prop_assert_eq!(found, expected, "{}", topic);
            }
        }
    }
}
