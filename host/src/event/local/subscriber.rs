//! What the program subscribes to.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plugmesh::cloudevents::Event;
use plugmesh::event::frame::{EventSpan, EventsMessage, Incoming, bus_frame};
use plugmesh::event::v1::bus_frame::Frame;
use plugmesh::event::v1::{Acknowledge, Credit, Delivery, Nack, Subscribe, Subscription};
use tonic::{Code, Status};

use super::super::open::Events;
use super::super::participant::{Participant, Permissions, Until};
use super::EventError;

/// The one subscription of its participant.
const NUMBER: u64 = 1;

/// Events that may be taken from the subscription before the program has asked for them, and their bytes.
const WINDOW: u64 = 1024;
const WINDOW_BYTES: u64 = 4 << 20;

/// Most events of a delivery; the bus sends fewer.
const MAX_EVENTS: usize = 65_536;

/// The bytes that precede a message of gRPC.
const PREFIX: usize = 5;

/// The events of a subscription. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscriber {
    participant: Arc<Participant>,
    epoch: u64,
    waiting: VecDeque<Waiting>,
    dropped: u64,
    /// What was taken and is not granted anew yet.
    taken: Credit,
}

/// An event that was sent, and not taken.
#[derive(Debug)]
struct Waiting {
    delivery: Bytes,
    event: EventSpan,
    number: u64,
    attempt: u32,
    place: Option<u64>,
}

/// An event that was delivered.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The event.
    pub event: Event,
    /// Its number, for [`Subscriber::handled`] and its like.
    pub number: u64,
    /// 1 when it is delivered for the first time.
    pub attempt: u32,
    /// Its place in the journal, if it is there.
    pub place: Option<u64>,
    /// Events that were dropped before it.
    pub dropped: u64,
}

impl Subscriber {
    pub(super) async fn new(events: &Events, name: Arc<str>, what: Subscription) -> Result<Self, EventError> {
        let bus = events.bus().clone();
        let (permissions, defaults) = (Permissions::default(), events.defaults().clone());
        let participant = Participant::new(bus, name, permissions, defaults, Until::HostEnds);
        let credit = Some(Credit { subscription: NUMBER, events: WINDOW, bytes: WINDOW_BYTES });
        let subscribe = Subscribe { subscription: NUMBER, what: Some(what), credit };
        let refused = |(code, message): (Code, String)| EventError::Refused(Status::new(code, message));
        participant.try_subscribe(subscribe).map_err(refused)?;
        let epoch = participant.epoch();
        let mut this =
            Self { participant, epoch, waiting: VecDeque::new(), dropped: 0, taken: Credit::default() };
        // One that gets its events from the journal is in force when that says so.
        while !this.step().await? {}
        Ok(this)
    }

    /// The next event. `None`: the host goes.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The subscription has ended.
    pub async fn next(&mut self) -> Result<Option<Delivered>, EventError> {
        loop {
            if let Some(Waiting { delivery, event, number, attempt, place }) = self.waiting.pop_front() {
                self.taken.events += 1;
                self.taken.bytes += event.content().len() as u64;
                self.grant();
                let event = Event::from_checked_bytes(delivery.slice(event.content()));
                let dropped = std::mem::take(&mut self.dropped);
                return Ok(Some(Delivered { event, number, attempt, place, dropped }));
            }
            match self.step().await {
                Ok(_) => {}
                Err(EventError::Ended) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes note of the next frame. Gives whether it says that the subscription is in force.
    async fn step(&mut self) -> Result<bool, EventError> {
        let message = poll_fn(|cx| self.participant.poll_message(cx)).await.map_err(|_| EventError::Ended)?;
        let internal =
            |error: &dyn std::fmt::Display| EventError::Refused(Status::internal(error.to_string()));
        match bus_frame(message.slice(PREFIX..)).map_err(|error| internal(&error))? {
            Incoming::Events(delivery) => {
                let mut events = Vec::new();
                let head =
                    Delivery::read(&delivery, MAX_EVENTS, &mut events).map_err(|error| internal(&error))?;
                for (index, event) in events.into_iter().enumerate() {
                    let attempt = head.attempts.iter().find(|attempt| attempt.index as usize == index);
                    self.waiting.push_back(Waiting {
                        delivery: delivery.clone(),
                        event,
                        number: head.sequence + index as u64,
                        attempt: attempt.map_or(1, |attempt| attempt.number),
                        place: head.places.get(index).copied().filter(|place| *place > 0),
                    });
                }
            }
            Incoming::Other(Some(Frame::Subscribed(_))) => return Ok(true),
            Incoming::Other(Some(Frame::Unsubscribed(over))) => {
                let status = Status::new(Code::from_i32(over.code), over.message);
                return Err(EventError::Refused(status));
            }
            Incoming::Other(Some(Frame::Gap(gap))) => self.dropped += gap.dropped,
            Incoming::Other(Some(Frame::Problem(problem))) => {
                tracing::warn!(message = %problem.message, "the event bus has a problem with this program");
            }
            Incoming::Other(_) => {}
        }
        Ok(false)
    }

    /// Lets more be sent, when a good part of the window was taken.
    fn grant(&mut self) {
        if self.taken.events >= WINDOW / 4 || self.taken.bytes >= WINDOW_BYTES / 4 {
            let credit = Credit { subscription: NUMBER, ..std::mem::take(&mut self.taken) };
            self.participant.credit(credit);
        }
    }

    /// These were handled. Needed with at least once only.
    pub fn handled(&self, numbers: impl IntoIterator<Item = u64>) {
        self.answer(Acknowledge { handled: numbers.into_iter().collect(), ..Acknowledge::default() });
    }

    /// This one was not handled: it is delivered again, after `delay` or the pause of the subscription.
    pub fn failed(&self, number: u64, reason: impl Into<String>, delay: Option<Duration>) {
        let delay = delay.and_then(|delay| prost_types::Duration::try_from(delay).ok());
        let nack = Nack { sequence: number, reason: reason.into(), delay, give_up: false };
        self.answer(Acknowledge { failed: vec![nack], ..Acknowledge::default() });
    }

    /// This one never can be handled: it goes to the dead letters.
    pub fn rejected(&self, number: u64, reason: impl Into<String>) {
        let nack = Nack { sequence: number, reason: reason.into(), delay: None, give_up: true };
        self.answer(Acknowledge { failed: vec![nack], ..Acknowledge::default() });
    }

    /// This one is still being handled: its deadline begins anew.
    pub fn in_progress(&self, number: u64) {
        self.answer(Acknowledge { in_progress: vec![number], ..Acknowledge::default() });
    }

    fn answer(&self, answer: Acknowledge) {
        let answer = Acknowledge { subscription: NUMBER, epoch: self.epoch, ..answer };
        self.participant.acknowledge(answer);
    }
}
