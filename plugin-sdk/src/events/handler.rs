//! What a plugin does with events.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use plugmesh::causes::with_causes;
use tonic::Status;

use super::link::Link;
use super::{Event, Mode, Subscription};
use crate::BoxError;

/// Events of a subscription that are handled at the same time, unless it says otherwise: enough to hide a call that each of them
/// waits for.
const CONCURRENCY: usize = 16;

/// An event that a handler gets.
#[derive(Clone, Debug)]
pub struct Received {
    /// The event.
    pub event: Event,
    /// 1 when it is delivered for the first time.
    pub attempt: u32,
    /// Events of the subscription that were dropped before it.
    pub dropped: u64,
    pub(super) number: u64,
    pub(super) subscription: u64,
    pub(super) link: Arc<Link>,
}

impl Received {
    /// It is still being handled: the deadline by which the bus must hear of it begins anew. Say so in time: unless configured
    /// otherwise that is 30 s.
    pub fn in_progress(&self) {
        self.link.answer(self.subscription, |answers| answers.acknowledge.in_progress.push(self.number));
    }
}

/// What a handler fails with to have its event delivered again after a pause of its own choice.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct RetryAfter {
    /// The pause.
    pub pause: Duration,
    /// For people.
    pub why: String,
}

/// What a handler fails with when its event never can be handled: it goes to the dead letters at once.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Reject(
    /// For people.
    pub String,
);

/// A subscription with what is done with its events.
///
/// A handler that returns `Ok` has handled its event. One that fails or panics has not: the event is delivered again, after pauses that
/// grow, and goes to the dead letters with the text of the last error when it was delivered as often as it may. [`RetryAfter`] and
/// [`Reject`] say otherwise.
///
/// Handlers run beside each other, but for events with the same partition key. One whose stream is lost is cancelled, since its event is
/// delivered to another instance, or again: it may have been half done.
#[derive(Clone)]
pub struct Handler {
    pub(super) subscription: Subscription,
    pub(super) concurrency: usize,
    pub(super) handle: Handle,
}

/// The function of a handler, of any type.
pub(super) type Handle = Arc<dyn Fn(Received) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

impl Handler {
    /// Handles events of these topics, at least once each: `user.login`, or `user.*` for any one token, or `user.>` for one or more.
    /// The instances of the plugin share them.
    pub fn new<F, R>(pattern: impl Into<String>, handle: F) -> Self
    where
        F: Fn(Received) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let what = Subscription {
            patterns: vec![pattern.into()],
            mode: Mode::AtLeastOnce as i32,
            ..Subscription::default()
        };
        Self::of(what, handle)
    }

    /// Handles events of any subscription.
    pub fn of<F, R>(what: Subscription, handle: F) -> Self
    where
        F: Fn(Received) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let handle: Handle = Arc::new(move |event| Box::pin(handle(event)));
        Self { subscription: what, concurrency: CONCURRENCY, handle }
    }

    pub(crate) fn declared(&self) -> &Subscription {
        &self.subscription
    }

    /// Changes the subscription.
    #[must_use]
    pub fn subscription(mut self, change: impl FnOnce(&mut Subscription)) -> Self {
        change(&mut self.subscription);
        self
    }

    /// Keeps the place in the host's journal under this name while no instance is there. Only for topics that are durable there.
    #[must_use]
    pub fn durable(self, name: impl Into<String>) -> Self {
        self.subscription(|what| what.durable_name = name.into())
    }

    /// Events that an instance handles at the same time. Default: 16.
    #[must_use]
    pub fn concurrency(mut self, events: usize) -> Self {
        self.concurrency = events.max(1);
        self
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("subscription", &self.subscription)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    Yes,
    /// Again, after a pause if it says so.
    No {
        why: String,
        pause: Option<Duration>,
    },
    /// Never.
    Never {
        why: String,
    },
}

impl From<Result<(), BoxError>> for Handled {
    fn from(result: Result<(), BoxError>) -> Self {
        let Err(error) = result else { return Self::Yes };
        match error.downcast::<RetryAfter>() {
            Ok(retry) => Self::No { why: retry.why, pause: Some(retry.pause) },
            Err(error) => match error.downcast::<Reject>() {
                Ok(reject) => Self::Never { why: reject.0 },
                Err(error) => Self::No { why: text(&*error), pause: None },
            },
        }
    }
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<Status>() {
        // The text of a status says more than people want to know.
        Some(status) => format!("{:?}: {}", status.code(), status.message()),
        None => with_causes(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_becomes_of_an_event() {
        let of = |error: BoxError| Handled::from(Err(error));
        assert_eq!(Handled::from(Ok(())), Handled::Yes);
        assert_eq!(of("busy".into()), Handled::No { why: "busy".into(), pause: None });
        assert_eq!(
            of(Box::new(Reject("no such user".into()))),
            Handled::Never { why: "no such user".into() }
        );
        let pause = Duration::from_secs(3);
        let later = RetryAfter { pause, why: "later".into() };
        assert_eq!(of(Box::new(later)), Handled::No { why: "later".into(), pause: Some(pause) });
        let status = Status::unavailable("no database");
        assert_eq!(of(status.into()), Handled::No { why: "Unavailable: no database".into(), pause: None });
    }
}
