//! The bus of whichever host there is.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Ack, Event, EventError, Events, Outcome, Publishable};
use crate::{Call, Context};

/// The pause before an event is published again: it doubles from one to the next, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest that an event is published again and again, a year: clocks cannot be set to any time.
const LONGEST_WITHIN: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long [`EventBus::publish_with_retry`] goes on, unless it is told.
const WITHIN: Duration = Duration::from_secs(30);

/// The bus of whichever host there is: the stream that the host has opened, or else one that this plugin opens, and another when that has
/// ended. Clones share it.
///
/// An event that is published while a call or another event is being handled carries its trace on, in the extension `traceparent`.
#[derive(Clone, Debug)]
pub struct EventBus {
    context: Context,
}

impl EventBus {
    fn new(context: Context) -> Self {
        Self { context }
    }

    /// The stream, which is opened if there is none.
    ///
    /// # Errors
    /// No host can be reached, or it has no bus.
    pub async fn stream(&self) -> Result<Events, EventError> {
        if let Some(events) = self.context.0.attachment.events() {
            return Ok(events);
        }
        let mut own = self.context.0.stream.lock().await;
        if let Some(events) = own.as_ref().filter(|events| !events.link().has_ended()) {
            return Ok(events.clone());
        }
        let name = self.context.instance().map(|instance| instance.name).unwrap_or_default();
        let events = Events::connect(self.context.gateway(), &name).await?;
        *own = Some(events.clone());
        Ok(events)
    }

    /// As [`Events::publish`].
    ///
    /// # Errors
    /// No host can be reached, the stream ended, or the event is not valid.
    pub async fn publish(&self, event: impl Publishable) -> Result<(), EventError> {
        let event = traced(event.into_event()?);
        self.stream().await?.publish(event).await
    }

    /// As [`Events::publish_acknowledged`].
    ///
    /// # Errors
    /// No host can be reached, the stream ended, or the bus refused the event.
    pub async fn publish_acknowledged(
        &self,
        event: impl Publishable,
        ack: Ack,
    ) -> Result<Outcome, EventError> {
        let event = traced(event.into_event()?);
        self.stream().await?.publish_acknowledged(event, ack).await
    }

    /// Publishes an event until the bus has it as safe as `ack` says, for at most 30 s: through breaks of the stream, restarts of the
    /// host, and times when it has no room. The event keeps its id, by which a durable topic knows it when it comes once more; of any
    /// other it may be published twice.
    ///
    /// # Errors
    /// The last one, when the time is over; or one that trying again does not help.
    pub async fn publish_with_retry(&self, event: impl Publishable, ack: Ack) -> Result<Outcome, EventError> {
        self.publish_within(event, ack, WITHIN).await
    }

    /// The same, for at most so long, and a year at most.
    ///
    /// # Errors
    /// As [`publish_with_retry`](Self::publish_with_retry).
    pub async fn publish_within(
        &self,
        event: impl Publishable,
        ack: Ack,
        within: Duration,
    ) -> Result<Outcome, EventError> {
        let event = traced(event.into_event()?);
        let deadline = Instant::now() + within.min(LONGEST_WITHIN);
        let mut pause = FIRST_PAUSE;
        loop {
            let publishing = async { self.stream().await?.publish_acknowledged(event.clone(), ack).await };
            let error = match tokio::time::timeout_at(deadline, publishing).await {
                Ok(Ok(outcome)) => return Ok(outcome),
                Ok(Err(error)) => error,
                Err(_) => EventError::Unreachable("no answer in time".to_owned()),
            };
            if !error.is_transient() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            // Full jitter would retry at once at times; half of it keeps many plugins apart just as well.
            sleep(pause.mul_f64(0.5 + 0.5 * jitter(&event))).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}

/// A number from 0 to 1 that differs from event to event.
fn jitter(event: &Event) -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(event.id()) as f64 / u64::MAX as f64
}

/// The event with the trace of what is being handled, unless it has one.
fn traced(event: Event) -> Event {
    let call = Call::current();
    let Some(traceparent) = call.traceparent() else { return event };
    let traced = event.with_attribute("traceparent", traceparent);
    let traced = traced.and_then(|event| match call.tracestate() {
        Some(tracestate) => event.with_attribute("tracestate", tracestate),
        None => Ok(event),
    });
    traced.unwrap_or(event)
}

impl Context {
    /// The event bus of the host: publish and subscribe, whether the plugin declares events or not.
    pub fn events(&self) -> EventBus {
        EventBus::new(self.clone())
    }
}
