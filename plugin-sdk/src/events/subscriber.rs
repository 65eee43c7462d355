//! Subscriptions.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use plugmesh::event::frame::{EventSpan, EventsMessage};
use plugmesh::event::v1::client_frame::Frame;
use plugmesh::event::v1::{Acknowledge, Credit, Delivery, Nack, Subscribe, Unsubscribe};
use tonic::Status;

use super::link::Link;
use super::{Event, EventError, Events, Mode, Subscription};

/// Events that a subscriber may have waiting on its side, and their bytes, unless it says otherwise.
const WINDOW: u64 = 4096;
const WINDOW_BYTES: u64 = 4 << 20;

/// Most events of a delivery that are taken.
const MAX_EVENTS: usize = 65_536;

/// What has come for a subscription.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    deliveries: VecDeque<Arrived>,
    is_in_force: bool,
    gap: u64,
    ended: Option<EventError>,
    reader: Option<Waker>,
}

/// A delivery whose events were not all taken.
#[derive(Debug)]
struct Arrived {
    message: Bytes,
    events: std::vec::IntoIter<EventSpan>,
    next: u64,
    index: u32,
    attempts: Vec<(u32, u32)>,
}

/// The events of a subscription. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscriber {
    events: Events,
    inbox: Arc<Inbox>,
    number: u64,
    /// How much may be on this side that was not taken.
    window: u64,
    /// Its events are answered for. What was not taken when it ends is delivered again, maybe to somebody else at this moment.
    is_answered: bool,
    current: Option<Arrived>,
    /// What was taken and is not granted anew yet.
    taken: u64,
    taken_bytes: u64,
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
    /// Events that were dropped before it.
    pub dropped: u64,
}

/// Whether the events of a subscription are answered for.
pub(super) fn is_answered(what: &Subscription) -> bool {
    what.mode == Mode::AtLeastOnce as i32
        || what.mode != Mode::AtMostOnce as i32 && !what.durable_name.is_empty()
}

/// Finds the events of a delivery.
pub(super) fn read(delivery: &Bytes) -> Result<(Delivery, Vec<EventSpan>), Status> {
    let mut spans = Vec::new();
    let head = Delivery::read(delivery, MAX_EVENTS, &mut spans)
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok((head, spans))
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting();
        change(&mut waiting);
        let reader = waiting.reader.take();
        drop(waiting);
        reader.into_iter().for_each(Waker::wake);
    }

    pub(super) fn deliver(&self, message: Bytes, head: &Delivery, events: Vec<EventSpan>) {
        let attempts = head.attempts.iter().map(|attempt| (attempt.index, attempt.number)).collect();
        let arrived =
            Arrived { message, events: events.into_iter(), next: head.sequence, index: 0, attempts };
        self.change(|waiting| waiting.deliveries.push_back(arrived));
    }

    pub(super) fn is_in_force(&self) {
        self.change(|waiting| waiting.is_in_force = true);
    }

    pub(super) fn dropped(&self, events: u64) {
        self.change(|waiting| waiting.gap = waiting.gap.saturating_add(events));
    }

    pub(super) fn end(&self, why: EventError) {
        self.change(|waiting| {
            waiting.ended.get_or_insert(why);
        });
    }

    /// Whether the subscription goes on.
    fn check(&self) -> Result<(), EventError> {
        self.waiting().ended.clone().map_or(Ok(()), Err)
    }

    fn poll_in_force(&self, cx: &mut Context<'_>) -> Poll<Result<(), EventError>> {
        let mut waiting = self.waiting();
        match (&waiting.ended, waiting.is_in_force) {
            (Some(why), _) => Poll::Ready(Err(why.clone())),
            (None, true) => Poll::Ready(Ok(())),
            (None, false) => {
                waiting.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<Result<(Arrived, u64), EventError>> {
        let mut waiting = self.waiting();
        if let Some(arrived) = waiting.deliveries.pop_front() {
            return Poll::Ready(Ok((arrived, std::mem::take(&mut waiting.gap))));
        }
        if let Some(why) = &waiting.ended {
            return Poll::Ready(Err(why.clone()));
        }
        waiting.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Events {
    /// Subscribes to topics: every event that is published after this returns is delivered, as `what` says.
    ///
    /// # Errors
    /// The stream has ended, or the bus refused the subscription.
    pub async fn subscribe(&self, what: Subscription) -> Result<Subscriber, EventError> {
        let inbox = Arc::new(Inbox::default());
        let number = self.link().add_inbox(&inbox);
        let is_answered = is_answered(&what);
        let credit = Credit { subscription: number, events: WINDOW, bytes: WINDOW_BYTES };
        self.link().send(Frame::Subscribe(Subscribe {
            subscription: number,
            what: Some(what),
            credit: Some(credit),
        }));
        let subscriber = Subscriber::new(self, inbox, number, WINDOW, is_answered);
        poll_fn(|cx| subscriber.inbox.poll_in_force(cx)).await?;
        Ok(subscriber)
    }
}

impl Subscriber {
    fn new(events: &Events, inbox: Arc<Inbox>, number: u64, window: u64, is_answered: bool) -> Self {
        let events = events.clone();
        Self { events, inbox, number, window, is_answered, current: None, taken: 0, taken_bytes: 0 }
    }

    /// One that the bus has made by itself, with room for so many events that were not taken.
    pub(super) fn declared(
        events: &Events,
        inbox: Arc<Inbox>,
        number: u64,
        window: u64,
        what: &Subscription,
    ) -> Self {
        events.link().answer(number, |answers| {
            answers.credit.events += window;
            answers.credit.bytes += WINDOW_BYTES;
        });
        Self::new(events, inbox, number, window, is_answered(what))
    }

    /// Its number, and the stream that it is of.
    pub(super) fn origin(&self) -> (u64, Arc<Link>) {
        (self.number, self.events.0.link.clone())
    }

    /// The next event. When the stream has ended, what came before and needs no answer is still given.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The stream or the subscription has ended, or an event cannot be read.
    pub async fn next(&mut self) -> Result<Delivered, EventError> {
        let mut dropped = 0;
        loop {
            if self.is_answered {
                self.inbox.check()?;
            }
            if let Some(arrived) = &mut self.current {
                if let Some(event) = arrived.events.next() {
                    return self.take(event.content(), dropped);
                }
                self.current = None;
                self.grant();
            }
            let (arrived, gap) = poll_fn(|cx| self.inbox.poll_arrived(cx)).await?;
            dropped = dropped.saturating_add(gap);
            self.current = Some(arrived);
        }
    }

    fn take(&mut self, event: Range<usize>, dropped: u64) -> Result<Delivered, EventError> {
        let Some(arrived) = &mut self.current else {
            return Err(EventError::Ended(Status::internal("no delivery")));
        };
        let (number, index) = (arrived.next, arrived.index);
        arrived.next = arrived.next.saturating_add(1);
        arrived.index += 1;
        self.taken += 1;
        self.taken_bytes += event.len() as u64;
        let attempt = arrived.attempts.iter().find(|(at, _)| *at == index).map_or(1, |(_, attempt)| *attempt);
        let event = Event::from_checked_bytes(arrived.message.slice(event));
        Ok(Delivered { event, number, attempt, dropped })
    }

    /// Lets more be sent, when a good part of the window was taken.
    fn grant(&mut self) {
        if self.taken < self.window / 4 && self.taken_bytes < WINDOW_BYTES / 4 {
            return;
        }
        let (events, bytes) = (self.taken, self.taken_bytes);
        (self.taken, self.taken_bytes) = (0, 0);
        self.events.link().answer(self.number, |answers| {
            answers.credit.events += events;
            answers.credit.bytes += bytes;
        });
    }

    /// These were handled. Needed with at least once only.
    pub fn handled(&self, numbers: impl IntoIterator<Item = u64>) {
        self.answer(|acknowledge| acknowledge.handled.extend(numbers));
    }

    /// This one was not handled: it is delivered again, after `delay` or the pause of the subscription.
    pub fn failed(&self, number: u64, reason: impl Into<String>, delay: Option<Duration>) {
        let delay = delay.and_then(|delay| prost_types::Duration::try_from(delay).ok());
        let nack = Nack { sequence: number, reason: reason.into(), delay, give_up: false };
        self.answer(|acknowledge| acknowledge.failed.push(nack));
    }

    /// This one never can be handled: it goes to the dead letters.
    pub fn rejected(&self, number: u64, reason: impl Into<String>) {
        let nack = Nack { sequence: number, reason: reason.into(), delay: None, give_up: true };
        self.answer(|acknowledge| acknowledge.failed.push(nack));
    }

    /// This one is still being handled: its deadline begins anew.
    pub fn in_progress(&self, number: u64) {
        self.answer(|acknowledge| acknowledge.in_progress.push(number));
    }

    fn answer(&self, say: impl FnOnce(&mut Acknowledge)) {
        self.events.link().answer(self.number, |answers| say(&mut answers.acknowledge));
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let link = self.events.link();
        link.state().inboxes.remove(&self.number);
        link.send(Frame::Unsubscribe(Unsubscribe { subscription: self.number }));
    }
}
