//! Publishing.

use std::future::poll_fn;

use plugmesh::event::v1::{Ack, EventResult};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::{Event, EventError, Events};

/// What became of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// It was published a short time ago already, and not once more.
    pub duplicate: bool,
    /// With [`Ack::Handled`]: subscriptions that gave it up, by name.
    pub given_up: Vec<String>,
}

impl Events {
    /// Publishes an event without asking what becomes of it. Waits only while the connection is behind by a quarter of a megabyte.
    ///
    /// Dropping the future before it is ready publishes nothing.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn publish(&self, event: Event) -> Result<(), EventError> {
        let bytes = event.into_bytes();
        poll_fn(|cx| self.link().poll_push(&bytes, Ack::None, &mut None, cx)).await
    }

    /// Publishes an event, and waits until it is as safe as `ack` says. Many may wait at once.
    ///
    /// Dropping the future when it has begun leaves it open whether the event is published.
    ///
    /// # Errors
    /// The stream has ended, or the bus refused the event.
    pub async fn publish_acknowledged(&self, event: Event, ack: Ack) -> Result<Outcome, EventError> {
        let ack = match ack {
            Ack::None => Ack::Unspecified,
            ack => ack,
        };
        let bytes = event.into_bytes();
        let (answer, answered) = oneshot::channel();
        let mut answer = Some(answer);
        poll_fn(|cx| self.link().poll_push(&bytes, ack, &mut answer, cx)).await?;
        outcome(answered).await
    }

    /// Waits until the bus has everything that was published before.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn flush(&self) -> Result<(), EventError> {
        let (answer, answered) = oneshot::channel();
        self.link().push_mark(answer);
        outcome(answered).await.map(drop)
    }
}

async fn outcome(
    answered: oneshot::Receiver<Result<EventResult, EventError>>,
) -> Result<Outcome, EventError> {
    let ended = || EventError::Ended(Status::unavailable("it was dropped"));
    let result = answered.await.map_err(|_| ended())??;
    match Code::from_i32(result.code) {
        Code::Ok => Ok(Outcome { duplicate: result.duplicate, given_up: result.given_up }),
        code => Err(EventError::Refused(Status::new(code, result.message))),
    }
}
