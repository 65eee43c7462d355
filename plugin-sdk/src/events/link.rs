//! What both directions of a stream share.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame as BodyFrame};
use plugmesh::event::frame::{EventsBuffer, FULL, message};
use plugmesh::event::stream;
use plugmesh::event::v1::client_frame::Frame;
use plugmesh::event::v1::{Ack, Acknowledge, ClientFrame, Credit, EventResult, Publish};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::EventError;
use super::publish::Ready;
use super::subscriber::Inbox;

/// Bytes of events that wait to be sent; a publisher waits when there are so many. Two frames, so that one is filled while the other is
/// sent.
const MAX_WAITING: usize = 512 * 1024;

/// Tag and length of an event, at most.
const MAX_HEAD: usize = 6;

/// Events of a frame, at most. No host allows fewer.
const MAX_EVENTS: usize = 4096;

/// The state of a stream.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Subscriptions that come and go, and the hello: as many as the plugin has.
    control: VecDeque<Bytes>,
    /// What there is to say of deliveries, by subscription: as much as the credit of each.
    answers: BTreeMap<u64, Answers>,
    batches: VecDeque<Batch>,
    /// Bytes of the events in `batches`.
    waiting: usize,
    /// What may still be published.
    events: i64,
    bytes: i64,
    next_sequence: u64,
    /// Frames whose answers are awaited, with who waits.
    sent: HashMap<u64, Vec<Waiter>>,
    pub(super) inboxes: HashMap<u64, Arc<Inbox>>,
    next_subscription: u64,
    pub(super) epoch: Option<u64>,
    ended: Option<Status>,
    writer: Option<Waker>,
    /// Publishers that wait for room, and who waits for the welcome.
    blocked: Vec<Waker>,
}

/// What there is to say of the deliveries of a subscription.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) acknowledge: Acknowledge,
    /// Room for more.
    pub(super) credit: Credit,
}

/// Events that will be a frame.
#[derive(Debug)]
struct Batch {
    events: EventsBuffer,
    content: usize,
    ack: Ack,
    waiters: Vec<Waiter>,
}

/// Who waits for the answer to an event of a frame.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) index: u32,
    pub(super) answer: oneshot::Sender<Result<EventResult, EventError>>,
}

impl Link {
    pub(super) fn new() -> Arc<Self> {
        let link = Self::default();
        link.state().next_subscription = 1;
        Arc::new(link)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame of control.
    pub(super) fn send(&self, frame: Frame) {
        let mut state = self.state();
        state.control.push_back(message(&ClientFrame { frame: Some(frame) }));
        state.wake_writer();
    }

    /// Says something of the deliveries of a subscription, together with what else there is to say by the time that it is sent.
    pub(super) fn answer(&self, subscription: u64, say: impl FnOnce(&mut Answers)) {
        let mut state = self.state();
        say(state.answers.entry(subscription).or_default());
        state.wake_writer();
    }

    /// Adds a place for the deliveries of a new subscription, and gives its number.
    pub(super) fn add_inbox(&self, inbox: &Arc<Inbox>) -> u64 {
        let mut state = self.state();
        let number = state.next_subscription;
        state.next_subscription += 1;
        state.inboxes.insert(number, inbox.clone());
        number
    }

    /// Waits until the bus has said hello.
    pub(super) async fn welcomed(&self) -> Result<(), EventError> {
        std::future::poll_fn(|cx| {
            let mut state = self.state();
            state.check()?;
            if state.epoch.is_some() {
                return Poll::Ready(Ok(()));
            }
            state.blocked.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The bus has said hello.
    pub(super) fn welcome(&self, epoch: u64, events: u64, bytes: u64) {
        self.state().epoch = Some(epoch);
        self.grant(events, bytes);
    }

    /// More may be published.
    pub(super) fn grant(&self, events: u64, bytes: u64) {
        let mut state = self.state();
        state.events = state.events.saturating_add_unsigned(events);
        state.bytes = state.bytes.saturating_add_unsigned(bytes);
        state.wake_writer();
        state.wake_blocked();
    }

    /// Takes an event, if there is room for it.
    pub(super) fn poll_push(
        &self,
        event: &Ready<'_>,
        ack: Ack,
        answer: &mut Option<oneshot::Sender<Result<EventResult, EventError>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EventError>> {
        let mut state = self.state();
        state.check()?;
        if state.waiting >= MAX_WAITING {
            state.blocked.push(cx.waker().clone());
            return Poll::Pending;
        }
        let batch = state.batch(ack, event.len());
        let index = batch.events.count() as u32;
        event.push_to(&mut batch.events);
        batch.content += event.len();
        batch.waiters.extend(answer.take().map(|answer| Waiter { index, answer }));
        state.waiting += event.len();
        state.wake_writer();
        Poll::Ready(Ok(()))
    }

    /// Sends a frame without events behind all that wait: its answer comes after theirs.
    pub(super) fn push_mark(&self, answer: oneshot::Sender<Result<EventResult, EventError>>) {
        let mut state = self.state();
        let mut batch = Batch::new(Ack::Accepted);
        batch.waiters.push(Waiter { index: 0, answer });
        state.batches.push_back(batch);
        state.wake_writer();
    }

    /// The bus has answered for a frame.
    pub(super) fn published(&self, sequence: u64, results: Vec<EventResult>) {
        let Some(waiters) = self.state().sent.remove(&sequence) else { return };
        for Waiter { index, answer } in waiters {
            let result = results.iter().find(|result| result.index == index).cloned();
            let result = result.unwrap_or(EventResult { index, ..EventResult::default() });
            // Who gave up waiting does not want to know.
            let _ = answer.send(Ok(result));
        }
    }

    /// Whether the stream is over.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended.is_some()
    }

    /// The stream is over.
    pub(super) fn end(&self, status: Status) {
        let mut state = self.state();
        let status = state.ended.get_or_insert(status).clone();
        let batches = std::mem::take(&mut state.batches);
        let waiters = state.sent.drain().flat_map(|(_, waiters)| waiters);
        let waiters: Vec<_> = waiters.chain(batches.into_iter().flat_map(|batch| batch.waiters)).collect();
        let inboxes = std::mem::take(&mut state.inboxes);
        state.wake_writer();
        state.wake_blocked();
        drop(state);
        for Waiter { answer, .. } in waiters {
            let _ = answer.send(Err(EventError::Ended(status.clone())));
        }
        inboxes.into_values().for_each(|inbox| inbox.end(EventError::Ended(status.clone())));
    }

    /// The next message for the bus.
    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state();
        if let Some(message) = state.control.pop_front() {
            return Poll::Ready(Some(message));
        }
        // What was handled is said, also when the last who held the stream let go of it right after.
        if let Some(message) = state.next_answer() {
            return Poll::Ready(Some(message));
        }
        if state.ended.is_some() {
            return Poll::Ready(None);
        }
        let may_publish = state.events > 0 && state.bytes > 0;
        match state.batches.pop_front() {
            Some(batch) if may_publish || batch.events.count() == 0 => Poll::Ready(Some(state.finish(batch))),
            blocked => {
                blocked.into_iter().for_each(|batch| state.batches.push_front(batch));
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Batch {
    fn new(ack: Ack) -> Self {
        Self { events: EventsBuffer::with_capacity(0), content: 0, ack, waiters: Vec::new() }
    }
}

impl State {
    /// The next of what there is to say of deliveries.
    fn next_answer(&mut self) -> Option<Bytes> {
        let mut first = self.answers.first_entry()?;
        let (subscription, Answers { acknowledge, credit }) = (*first.key(), first.get_mut());
        // What is handled first: it makes room.
        let frame = match acknowledge {
            Acknowledge { handled, failed, in_progress, .. }
                if handled.is_empty() && failed.is_empty() && in_progress.is_empty() =>
            {
                let credit = Credit { subscription, ..*credit };
                first.remove();
                Frame::Credit(credit)
            }
            _ => {
                let epoch = self.epoch.unwrap_or_default();
                let acknowledge = Acknowledge { subscription, epoch, ..std::mem::take(acknowledge) };
                if credit.events == 0 && credit.bytes == 0 {
                    first.remove();
                }
                Frame::Acknowledge(acknowledge)
            }
        };
        Some(message(&ClientFrame { frame: Some(frame) }))
    }

    fn check(&self) -> Result<(), EventError> {
        self.ended.as_ref().map_or(Ok(()), |status| Err(EventError::Ended(status.clone())))
    }

    fn wake_writer(&mut self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    fn wake_blocked(&mut self) {
        self.blocked.drain(..).for_each(Waker::wake);
    }

    /// The batch that an event goes into: the last, unless that is full or wants another answer.
    fn batch(&mut self, ack: Ack, event: usize) -> &mut Batch {
        let fits = self.batches.back().is_some_and(|batch| {
            batch.ack == ack
                && batch.events.bytes() + event + MAX_HEAD <= FULL
                && (1..MAX_EVENTS).contains(&batch.events.count())
        });
        if !fits {
            self.batches.push_back(Batch::new(ack));
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }

    fn finish(&mut self, batch: Batch) -> Bytes {
        let Batch { events, content, ack, waiters } = batch;
        self.next_sequence += 1;
        let sequence = self.next_sequence;
        self.events -= events.count() as i64;
        self.bytes -= content as i64;
        self.waiting -= content;
        if self.waiting < MAX_WAITING {
            self.wake_blocked();
        }
        if !waiters.is_empty() {
            self.sent.insert(sequence, waiters);
        }
        events.finish(&Publish { sequence, ack: ack as i32, ..Publish::default() })
    }
}

/// What is sent to the bus, as the body of a request.
pub(super) struct Outgoing(Arc<Link>);

impl Outgoing {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }
}

/// The same as the body of a response, which ends with a status.
pub(super) struct Response {
    link: Arc<Link>,
    has_ended: bool,
}

impl Response {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, has_ended: false }
    }
}

impl Body for Response {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Some(message) = ready!(self.link.poll_message(cx)) {
            return Poll::Ready(Some(Ok(BodyFrame::data(message))));
        }
        self.has_ended = true;
        Poll::Ready(Some(stream::end(&Status::new(Code::Ok, ""))))
    }
}

impl Drop for Response {
    /// The host has gone.
    fn drop(&mut self) {
        self.link.end(Status::unavailable("the host has ended it"));
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Status>>> {
        Poll::Ready(ready!(self.0.poll_message(cx)).map(|message| Ok(BodyFrame::data(message))))
    }
}
