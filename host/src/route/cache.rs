//! Answers that are kept, to be given when a call fails.

mod key;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use plugmesh::metadata;

use super::body::CallBody;
use crate::resilience::clock::Moment;
pub(super) use key::Key;

static CACHE: HeaderName = HeaderName::from_static(metadata::CACHE);

/// What an entry costs beside its bytes: its places in the tables, and the tables of its headers. Rather too much than
/// too little, since it bounds how many small ones there can be.
const OVERHEAD: u64 = 1024;

/// What a header costs beside its bytes.
const HEADER_OVERHEAD: u64 = 128;

/// An entry takes at most one part in so many, so that one answer does not push out all others.
const LARGEST: u64 = 16;

/// A good answer to a call.
#[derive(Clone, Debug)]
pub(super) struct KeptAnswer {
    headers: HeaderMap,
    data: Bytes,
    trailers: HeaderMap,
}

/// The answers of one plugin: as many as fit, of which the least recently used goes first.
#[derive(Debug)]
pub(super) struct AnswerCache {
    max: u64,
    /// With a seed of its own: callers choose what is hashed.
    hasher: std::hash::RandomState,
    // Held for a few look-ups, never while anything is awaited, freed or hashed at length.
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Arc<Key>, Entry, foldhash::fast::RandomState>,
    /// The least recently used comes first.
    by_use: BTreeMap<u64, Arc<Key>>,
    /// Uses so far.
    uses: u64,
    used: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<KeptAnswer>,
    use_number: u64,
    cost: u64,
    since: Moment,
    until: Moment,
}

impl AnswerCache {
    /// One that takes `max` bytes at most.
    pub(super) fn new(max: u64) -> Self {
        Self { max, hasher: std::hash::RandomState::new(), entries: Mutex::default() }
    }

    /// Bytes that a request or an answer may have to be kept.
    pub(super) fn largest(&self) -> u64 {
        (self.max / LARGEST).saturating_sub(OVERHEAD)
    }

    /// Keeps an answer for `ttl`, in place of the one there was. One that takes too much is not kept, and the older one goes,
    /// which is none any more.
    pub(super) fn put(&self, key: Arc<Key>, answer: KeptAnswer, ttl: Duration, now: Moment) {
        let cost = OVERHEAD + key.len() + answer.cost();
        let mut gone = Vec::new();
        let mut entries = self.lock();
        gone.extend(entries.remove(&key));
        if cost <= self.max / LARGEST {
            let entry = Entry {
                answer: Arc::new(answer),
                use_number: entries.next_use(),
                cost,
                since: now,
                until: now + ttl,
            };
            while entries.used + cost > self.max
                && let Some(oldest) = entries.by_use.first_key_value().map(|(_, key)| key.clone())
            {
                gone.extend(entries.remove(&oldest));
            }
            entries.by_use.insert(entry.use_number, key.clone());
            entries.by_key.insert(key, entry);
            entries.used += cost;
        }
        drop(entries);
        drop(gone);
    }

    /// The answer that was kept and is not too old, with its age.
    pub(super) fn get(&self, key: &Key, now: Moment) -> Option<(Arc<KeptAnswer>, Duration)> {
        let mut entries = self.lock();
        let entry = entries.by_key.get(key)?;
        if now >= entry.until {
            let gone = entries.remove(key);
            drop(entries);
            drop(gone);
            return None;
        }
        let found = (entry.answer.clone(), now.since(entry.since));
        entries.touch(key);
        Some(found)
    }

    /// Bytes that are used, and by how many entries.
    #[cfg(test)]
    pub(super) fn used(&self) -> (u64, usize) {
        let entries = self.lock();
        assert_eq!(entries.by_key.len(), entries.by_use.len());
        assert_eq!(entries.used, entries.by_key.values().map(|entry| entry.cost).sum::<u64>());
        (entries.used, entries.by_key.len())
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn touch(&mut self, key: &Key) {
        let number = self.next_use();
        let Some(entry) = self.by_key.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.use_number, number);
        if let Some(key) = self.by_use.remove(&before) {
            self.by_use.insert(number, key);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<(Arc<Key>, Entry)> {
        let (key, entry) = self.by_key.remove_entry(key)?;
        self.by_use.remove(&entry.use_number);
        self.used -= entry.cost;
        Some((key, entry))
    }
}

impl KeptAnswer {
    /// What came, in memory of its own: as it comes, a few bytes may hold the whole of a buffer.
    pub(super) fn new(headers: &HeaderMap, data: &Bytes, trailers: &HeaderMap) -> Self {
        Self { headers: copied(headers), data: data.clone(), trailers: copied(trailers) }
    }

    fn cost(&self) -> u64 {
        let headers = self.headers.iter().chain(&self.trailers);
        let headers =
            headers.map(|(name, value)| (name.as_str().len() + value.len()) as u64 + HEADER_OVERHEAD);
        self.data.len() as u64 + headers.sum::<u64>()
    }

    /// The answer once more, and said to be that old.
    pub(super) fn respond(&self, age: Duration) -> Response<CallBody> {
        let mut response = Response::new(CallBody::kept(self.data.clone(), self.trailers.clone()));
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(AGE, age.as_secs().into());
        response.headers_mut().insert(CACHE.clone(), HeaderValue::from_static(metadata::CACHE_STALE));
        response
    }
}

fn copied(headers: &HeaderMap) -> HeaderMap {
    let copy = |(name, value): (&HeaderName, &HeaderValue)| {
        let mut copy = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        copy.set_sensitive(value.is_sensitive());
        Some((HeaderName::from_bytes(name.as_str().as_bytes()).ok()?, copy))
    };
    let mut all = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter_map(copy) {
        all.append(name, value);
    }
    all
}

#[cfg(test)]
mod tests;
