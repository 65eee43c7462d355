//! What has to be the same for two calls to have the same answer.

use std::hash::{BuildHasher, Hash, Hasher};

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;

use super::AnswerCache;

/// Metadata that changes from call to call and not the answer: of the transport, of the caller's patience, and what traces and
/// correlates calls. Everything else is part of the key, such as `plugmesh-caller`, `authorization`, `grpc-encoding` and
/// `grpc-accept-encoding`.
const NOT_PART: [&str; 17] = [
    "te",
    "user-agent",
    "content-length",
    "grpc-timeout",
    "grpc-previous-rpc-attempts",
    "traceparent",
    "tracestate",
    "baggage",
    "grpc-trace-bin",
    "grpc-tags-bin",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
];

/// Two names of the same.
const CONTENT_TYPES: [&[u8]; 2] = [b"application/grpc", b"application/grpc+proto"];

/// Method, request message and metadata of a call, as bytes from which each of them can be told again: what differs in any of
/// them has another key.
#[derive(Debug)]
pub(in crate::route) struct Key {
    /// Computed once, without the lock.
    pub(super) hash: u64,
    bytes: Box<[u8]>,
}

impl Key {
    /// The key of a request with this head and message, of calls to one plugin.
    pub(in crate::route) fn new(cache: &AnswerCache, head: &Parts, message: &[u8]) -> Self {
        let mut headers: Vec<_> =
            head.headers.iter().filter(|(name, _)| is_part(name, &head.headers)).collect();
        // Values of one name stay in order.
        headers.sort_by_key(|(name, _)| name.as_str());
        let path = head.uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
        let authority = head.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let mut bytes = Vec::new();
        let mut add = |part: &[u8]| {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        add(path.as_bytes());
        add(authority.as_bytes());
        add(message);
        for (name, value) in headers {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        Self { hash: cache.hasher.hash_one(&bytes), bytes: bytes.into() }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

fn is_part(name: &HeaderName, headers: &HeaderMap) -> bool {
    match name {
        &CONTENT_TYPE => !headers.get(name).is_some_and(|value| CONTENT_TYPES.contains(&value.as_bytes())),
        name => !NOT_PART.contains(&name.as_str()),
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
