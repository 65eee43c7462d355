//! Publishing.

use std::future::poll_fn;

use plugmesh::event::frame::EventsBuffer;
use plugmesh::event::v1::{Ack, EventResult};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::{Event, EventBuilder, EventError, Events};

/// What became of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// It was published a short time ago already, and not once more.
    pub duplicate: bool,
    /// With [`Ack::Handled`]: subscriptions that gave it up, by name.
    pub given_up: Vec<String>,
}

/// What can be published: an [`Event`], or an [`EventBuilder`], whose event is then written straight to where it is sent from.
pub trait Publishable: sealed::Sealed + Send {
    /// The event by itself.
    ///
    /// # Errors
    /// It is not valid.
    fn into_event(self) -> Result<Event, EventError>;
}

mod sealed {
    use plugmesh::cloudevents::{Draft, Event, EventBuilder};

    use crate::events::EventError;

    /// An event in either form, of a known size.
    #[derive(Debug)]
    pub enum Ready<'a> {
        Written(&'a Event),
        Draft(Draft<'a>),
    }

    pub trait Sealed {
        fn ready(&self) -> Result<Ready<'_>, EventError>;
    }

    impl Sealed for Event {
        #[inline]
        fn ready(&self) -> Result<Ready<'_>, EventError> {
            Ok(Ready::Written(self))
        }
    }

    impl Sealed for EventBuilder<'_> {
        #[inline]
        fn ready(&self) -> Result<Ready<'_>, EventError> {
            self.draft().map(Ready::Draft).map_err(|error| EventError::invalid(&error))
        }
    }
}

pub(super) use sealed::Ready;

impl Publishable for Event {
    fn into_event(self) -> Result<Event, EventError> {
        Ok(self)
    }
}

impl Publishable for EventBuilder<'_> {
    fn into_event(self) -> Result<Event, EventError> {
        self.build().map_err(|error| EventError::invalid(&error))
    }
}

impl Ready<'_> {
    /// Bytes of the event.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Written(event) => event.bytes().len(),
            Self::Draft(draft) => draft.encoded_len(),
        }
    }

    /// Adds it to a frame.
    #[inline]
    pub(super) fn push_to(&self, frame: &mut EventsBuffer) {
        match self {
            Self::Written(event) => frame.push(event.bytes()),
            Self::Draft(draft) => frame.push_draft(draft),
        }
    }
}

impl Events {
    /// Publishes an event without asking what becomes of it. Waits only while the connection is behind by half a megabyte.
    ///
    /// Dropping the future before it is ready publishes nothing.
    ///
    /// # Errors
    /// The stream has ended, or the event is not valid.
    pub async fn publish(&self, event: impl Publishable) -> Result<(), EventError> {
        poll_fn(|cx| self.link().poll_push(&event.ready()?, Ack::None, &mut None, cx)).await
    }

    /// Publishes an event, and waits until it is as safe as `ack` says. Many may wait at once.
    ///
    /// Dropping the future when it has begun leaves it open whether the event is published.
    ///
    /// # Errors
    /// The stream has ended, the event is not valid, or the bus refused it.
    pub async fn publish_acknowledged(
        &self,
        event: impl Publishable,
        ack: Ack,
    ) -> Result<Outcome, EventError> {
        let ack = match ack {
            Ack::None => Ack::Unspecified,
            ack => ack,
        };
        let (answer, answered) = oneshot::channel();
        let mut answer = Some(answer);
        poll_fn(|cx| self.link().poll_push(&event.ready()?, ack, &mut answer, cx)).await?;
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
