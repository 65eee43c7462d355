//! The bus for the program that links the host.

mod subscriber;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use plugmesh::cloudevents::Event;
use plugmesh::event::frame::put_event;
use plugmesh::event::v1::{Ack, EventResult, Subscription};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

pub use self::subscriber::{Delivered, Subscriber};
use super::open::Events;
use super::publish::Publisher;
use super::stream::DEFAULT_WAIT;
use crate::resilience::backoff::Backoff;

/// The pauses of [`EventBus::publish_with_retry`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long it goes on.
const WITHIN: Duration = Duration::from_secs(30);

/// The event bus of a host, for the program that links it: events do not leave the process, unless a plugin wants them. Clones share it.
#[derive(Clone)]
pub struct EventBus {
    events: Events,
    name: Arc<str>,
}

/// What became of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// It was published a short time ago already, and not once more.
    pub duplicate: bool,
    /// With [`Ack::Handled`]: subscriptions that gave it up, by name.
    pub given_up: Vec<String>,
}

/// What went wrong with events.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EventError {
    /// The bus refused what was asked.
    #[error("the event bus refused it: {} ({:?})", .0.message(), .0.code())]
    Refused(Status),
    /// The host goes.
    #[error("the host is shutting down")]
    Ended,
}

impl EventError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(status) => matches!(status.code(), Code::ResourceExhausted | Code::Unavailable),
            Self::Ended => false,
        }
    }
}

impl EventBus {
    pub(crate) fn new(events: Events, name: &str) -> Self {
        Self { events, name: name.into() }
    }

    /// Publishes an event, and waits until it is as safe as `ack` says. [`Ack::None`] and [`Ack::Accepted`] are the same here. Waits for room in
    /// subscriptions that are full and block for at most 5 s.
    ///
    /// Dropping the future when it has begun leaves it open whether the event is published.
    ///
    /// # Errors
    /// The bus refused it.
    pub async fn publish(&self, event: &Event, ack: Ack) -> Result<Outcome, EventError> {
        let mut results = self.publish_all(std::slice::from_ref(event), ack).await;
        results.pop().unwrap_or(Ok(Outcome::default()))
    }

    /// Publishes events, in their order; what is wrong with one does not keep the others back. As many as a frame has: 4096 at most.
    ///
    /// Dropping the future when it has begun leaves it open which are published.
    pub async fn publish_all(&self, events: &[Event], ack: Ack) -> Vec<Result<Outcome, EventError>> {
        // One for each call: nobody waits for what another one waits for.
        let mut publisher = Publisher::new(self.events.bus().clone(), None, None);
        match publisher.publish_message(message(events), ack, DEFAULT_WAIT).await {
            Ok(said) => results(events.len(), said),
            Err(error) => {
                let refused = EventError::Refused(Status::invalid_argument(error.to_string()));
                events.iter().map(|_| Err(refused.clone())).collect()
            }
        }
    }

    /// Publishes an event until the bus has it as safe as `ack` says, for at most 30 s: through times when a subscription or the disk of the
    /// journal has no room. The event keeps its id, by which a durable topic knows it when it comes once more; of any other it may be
    /// published twice.
    ///
    /// # Errors
    /// The last one, when the time is over; or one that trying again does not help.
    pub async fn publish_with_retry(&self, event: &Event, ack: Ack) -> Result<Outcome, EventError> {
        let backoff = Backoff { initial: FIRST_PAUSE, max: LONGEST_PAUSE, ..Backoff::default() };
        let deadline = Instant::now() + WITHIN;
        let mut attempt = 1;
        loop {
            let error = match self.publish(event, ack).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            let pause = backoff.delay(attempt);
            if !error.is_transient() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            sleep(pause).await;
            attempt += 1;
        }
    }

    /// Subscribes to topics: every event that is published after this returns is delivered, as `what` says. Without a group it gets all of
    /// them.
    ///
    /// # Errors
    /// The bus refused the subscription.
    pub async fn subscribe(&self, what: Subscription) -> Result<Subscriber, EventError> {
        Subscriber::new(&self.events, self.name.clone(), what).await
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An encoded `Publish`.
pub(super) fn message(events: &[Event]) -> bytes::Bytes {
    let mut message = BytesMut::with_capacity(events.iter().map(|event| event.bytes().len() + 8).sum());
    events.iter().for_each(|event| put_event(event.bytes(), &mut message));
    message.freeze()
}

fn results(count: usize, said: Vec<EventResult>) -> Vec<Result<Outcome, EventError>> {
    let mut results: Vec<_> = (0..count).map(|_| Ok(Outcome::default())).collect();
    for result in said {
        let EventResult { index, code, message, duplicate, given_up } = result;
        if let Some(place) = results.get_mut(index as usize) {
            *place = match Code::from_i32(code) {
                Code::Ok => Ok(Outcome { duplicate, given_up }),
                code => Err(EventError::Refused(Status::new(code, message))),
            };
        }
    }
    results
}
