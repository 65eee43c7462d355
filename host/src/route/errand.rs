//! What is to be done for a caller, however many attempts that takes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::head::Head;
use super::replay::{ReplayMemory, Source};
use super::rescue::Rescue;
use super::{Method, timeout};
use crate::BoxError;

static PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// A call as its caller wants it.
pub(super) struct Errand<B> {
    pub(super) method: Arc<Method>,
    /// The instance that the caller insists on, by name or id.
    pub(super) pinned: Option<Box<str>>,
    /// Of the value that decides which instance is called.
    pub(super) hash: Option<u64>,
    pub(super) deadline: Option<Instant>,
    /// The head, to send it again; `None` when that never happens.
    head: Option<Head>,
    source: Source<B>,
}

/// What a caller says about its call.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) pinned: Option<Box<str>>,
    pub(super) hash: Option<u64>,
    pub(super) deadline: Option<Instant>,
    /// Whether the plugin has to be told of it.
    pub(super) is_deadline_ours: bool,
}

impl<B> Errand<B> {
    /// Takes a request apart: what is to be done, and the request of the first attempt.
    pub(super) fn new(
        method: Arc<Method>,
        terms: Terms,
        request: Request<B>,
        memory: Arc<ReplayMemory>,
    ) -> (Arc<Self>, Request<Replay<B>>) {
        let retry = &method.policy().retry;
        let has_substitute = method.rescue().is_some_and(Rescue::has_plugin);
        let room = if retry.enabled || has_substitute { retry.buffer_size.as_u64() } else { 0 };
        let may_repeat = retry.enabled || method.is_hedged() || has_substitute;
        let (mut head, body) = request.into_parts();
        let source = Source::new(body, method.route().max_message(), room, memory);
        let Terms { pinned, hash, deadline, is_deadline_ours } = terms;
        if is_deadline_ours && let Some(deadline) = deadline {
            tell(&mut head.headers, deadline);
        }
        let kept = may_repeat.then(|| Head::of(&head));
        let errand = Arc::new(Self { method, pinned, hash, deadline, head: kept, source });
        let first = Request::from_parts(head, Replay { errand: errand.clone(), at: 0 });
        (errand, first)
    }

    /// The request once more, after `before` attempts that the plugin may have seen; `None` when it cannot be repeated.
    pub(super) fn again(self: &Arc<Self>, before: u32) -> Option<Request<Replay<B>>> {
        let head = self.head.as_ref().filter(|_| self.source.is_replayable())?;
        let mut request = head.request(Replay { errand: self.clone(), at: 0 });
        if let Some(deadline) = self.deadline {
            tell(request.headers_mut(), deadline);
        }
        if before > 0 {
            request.headers_mut().insert(PREVIOUS_ATTEMPTS.clone(), HeaderValue::from(before));
        }
        Some(request)
    }

    /// Whether the request could be sent once more.
    pub(super) fn is_repeatable(&self) -> bool {
        self.head.is_some() && self.source.is_replayable()
    }

    /// Whether several attempts could be under way at once.
    pub(super) fn is_whole(&self) -> bool {
        self.source.is_whole()
    }

    /// There will be no other attempt.
    pub(super) fn commit(self: &Arc<Self>) {
        // When nobody reads the request any more, it goes with the errand.
        if Arc::strong_count(self) > 1 {
            self.source.commit();
        }
    }
}

/// Tells the plugin how much time is left.
fn tell(headers: &mut HeaderMap, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    headers.insert(timeout::HEADER.clone(), timeout::format(left));
}

impl<B> fmt::Debug for Errand<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("pinned", &self.pinned).finish_non_exhaustive()
    }
}

/// The request's body, as one attempt sends it.
#[derive(Debug)]
pub(super) struct Replay<B> {
    errand: Arc<Errand<B>>,
    at: usize,
}

impl<B> Body for Replay<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        this.errand.source.poll_frame(&mut this.at, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.errand.source.is_end(self.at)
    }
}
