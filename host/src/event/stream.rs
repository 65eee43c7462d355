//! A participant's stream: reads its frames, and writes those of the bus.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame as BodyFrame};
use plugmesh::event::Messages;
use plugmesh::event::frame::{EventsMessage, Incoming, client_frame};
use plugmesh::event::stream;
use plugmesh::event::v1::client_frame::Frame;
use plugmesh::event::v1::{Ack, EventResult, Publish};
use plugmesh::time::duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use super::outbox::End;
use super::participant::Participant;
use super::publish::{Done, Publisher, Publishing};
use super::receipt::{Awaited, Completions};

/// How long a publisher waits for room unless it says how long, and at most.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(5);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Frames whose handlers are awaited at once on a stream.
const MAX_AWAITED: usize = 4096;

/// Reads what a participant sends, until it has sent all. Dropping the future ends that at once.
pub(super) struct Reader<B> {
    participant: Arc<Participant>,
    messages: Messages<B>,
    publisher: Publisher,
    /// What of `awaited` is done with.
    completions: Arc<Completions>,
    /// Frames that were read and not published yet, in their order. Credit bounds them.
    waiting: VecDeque<Waiting>,
    /// What the participant may have in `waiting`.
    credit: Credit,
    /// What of it is free again, and was not granted yet.
    free: Credit,
    /// When the first of them is given up.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Frames that are published, and whose events are not recorded or handled yet, by their numbers here.
    awaited: HashMap<u64, Unanswered>,
    /// Those among them whose handlers are awaited.
    handlers: usize,
    /// Number of the next frame.
    next: u64,
    has_ended: bool,
}

/// A frame whose publisher will be answered.
struct Unanswered {
    sequence: u64,
    ack: Ack,
    awaited: Arc<Awaited>,
    results: Vec<EventResult>,
    /// What of the participant's credit it holds.
    holds: Credit,
}

struct Waiting {
    publishing: Publishing,
    sequence: u64,
    ack: Ack,
    wait: Duration,
    events: u64,
    bytes: u64,
}

/// What a participant may have on its way. It may go below zero once, by the last frame.
#[derive(Clone, Copy, Debug)]
struct Credit {
    events: i64,
    bytes: i64,
}

impl<B> Reader<B>
where
    B: Body<Data = Bytes, Error = Status> + Unpin,
{
    pub(super) fn new(participant: Arc<Participant>, body: B) -> Self {
        let limits = participant.bus().limits;
        Self {
            publisher: participant.publisher(),
            completions: Arc::default(),
            messages: Messages::new(body, limits.frame_bytes),
            participant,
            waiting: VecDeque::new(),
            credit: Credit { events: limits.publish_events as i64, bytes: limits.publish_bytes as i64 },
            free: Credit { events: 0, bytes: 0 },
            deadline: None,
            awaited: HashMap::new(),
            handlers: 0,
            next: 0,
            has_ended: false,
        }
    }

    /// Reads until the participant has sent all and everything is published.
    ///
    /// # Errors
    /// It sent something that is no frame, or the stream broke.
    pub(super) async fn run(mut self) -> Result<(), Status> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            self.poll_publishing(cx);
            self.poll_awaited(cx);
            if self.has_ended {
                return match self.waiting.is_empty() && self.awaited.is_empty() {
                    true => Poll::Ready(Ok(())),
                    false => Poll::Pending,
                };
            }
            // Who does not read what it is told is not listened to.
            ready!(self.participant.outbox.poll_room(cx));
            match ready!(self.messages.poll_next(cx))? {
                Some(message) => self.read(message)?,
                None => self.has_ended = true,
            }
        }
    }

    fn read(&mut self, message: Bytes) -> Result<(), Status> {
        let frame = client_frame(message).map_err(|error| Status::invalid_argument(error.to_string()))?;
        match frame {
            Incoming::Events(publish) => return self.publish(publish),
            Incoming::Other(Some(Frame::Subscribe(subscribe))) => self.participant.subscribe(subscribe),
            Incoming::Other(Some(Frame::Unsubscribe(unsubscribe))) => {
                self.participant.unsubscribe(unsubscribe.subscription);
            }
            Incoming::Other(Some(Frame::Acknowledge(acknowledge))) => {
                self.participant.acknowledge(acknowledge)
            }
            Incoming::Other(Some(Frame::Credit(credit))) => self.participant.credit(credit),
            Incoming::Other(Some(Frame::Hello(_))) => {}
            Incoming::Other(Some(Frame::Publish(_)) | None) => {
                let message = "a frame that this host does not know".to_owned();
                self.participant.problem(Code::Unimplemented, message, 0, 0);
            }
        }
        Ok(())
    }

    fn publish(&mut self, message: Bytes) -> Result<(), Status> {
        let limits = self.participant.bus().limits;
        if self.credit.events <= 0 || self.credit.bytes <= 0 {
            return Err(Status::resource_exhausted("events were published without credit for them"));
        }
        let mut spans = Vec::new();
        let head = Publish::read(&message, limits.frame_events, &mut spans)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let ack = Ack::try_from(head.ack).unwrap_or_default();
        let said = head.timeout.and_then(duration);
        let events = spans.len() as u64;
        let publishing = Publishing::new(message, spans, ack, self.completions.clone(), self.next);
        self.next += 1;
        let bytes = publishing.bytes();
        self.credit.events -= events as i64;
        self.credit.bytes -= bytes as i64;
        self.waiting.push_back(Waiting {
            publishing,
            sequence: head.sequence,
            ack,
            wait: said.map_or(DEFAULT_WAIT, |said| said.min(MAX_WAIT)),
            events,
            bytes,
        });
        Ok(())
    }

    /// Publishes what was read, as far as there is room.
    fn poll_publishing(&mut self, cx: &mut Context<'_>) {
        while let Some(first) = self.waiting.front_mut() {
            if self.publisher.poll_publish(&mut first.publishing, cx).is_pending() {
                let wait = first.wait;
                let deadline =
                    self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + wait)));
                if deadline.as_mut().poll(cx).is_pending() {
                    return;
                }
                first.publishing.time_out();
            }
            self.deadline = None;
            if let Some(done) = self.waiting.pop_front() {
                self.done(done);
            }
        }
    }

    /// Events have been published: answers for them, and lets the participant publish more.
    fn done(&mut self, done: Waiting) {
        let Waiting { publishing, sequence, ack, events, bytes, .. } = done;
        let frame = publishing.frame();
        let Done { awaited, results } = self.publisher.finish(publishing);
        let holds = Credit { events: events as i64, bytes: bytes as i64 };
        let Some(awaited) = awaited else {
            self.release(holds);
            return self.answer(sequence, ack, results);
        };
        let awaits_handlers = ack == Ack::Handled;
        if awaits_handlers && self.handlers == MAX_AWAITED {
            self.release(holds);
            let message = format!("more than {MAX_AWAITED} frames wait for their handlers on this stream");
            return self.participant.problem(Code::ResourceExhausted, message, 0, sequence);
        }
        self.handlers += usize::from(awaits_handlers);
        // A frame that waits for the journal takes memory; one that waits for its handlers takes that of the subscriptions.
        let holds = match awaits_handlers {
            true => {
                self.release(holds);
                Credit { events: 0, bytes: 0 }
            }
            false => holds,
        };
        awaited.published();
        self.awaited.insert(frame, Unanswered { sequence, ack, awaited, results, holds });
    }

    fn answer(&self, sequence: u64, ack: Ack, results: Vec<EventResult>) {
        let is_asked_for = ack != Ack::None;
        // Who does not want to be answered is told what is wrong, and not what is a duplicate.
        if is_asked_for || results.iter().any(|result| result.code != Code::Ok as i32) {
            self.participant.published(sequence, results);
        }
    }

    /// Credit that is free again.
    fn release(&mut self, credit: Credit) {
        self.free.events += credit.events;
        self.free.bytes += credit.bytes;
        self.grant();
    }

    /// Lets the participant publish more, when a quarter of what it may is free again: it never runs out for that, and is not told
    /// after every frame.
    fn grant(&mut self) {
        let limits = self.participant.bus().limits;
        let Credit { events, bytes } = self.free;
        if events >= limits.publish_events as i64 / 4 || bytes >= limits.publish_bytes as i64 / 4 {
            self.credit.events += events;
            self.credit.bytes += bytes;
            self.free = Credit { events: 0, bytes: 0 };
            self.participant.grant(events as u64, bytes as u64);
        }
    }

    /// Answers for events that are recorded, or that all handlers are done with.
    fn poll_awaited(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(frames) = self.completions.poll(cx) {
            for frame in frames {
                let Some(unanswered) = self.awaited.remove(&frame) else { continue };
                let Unanswered { sequence, ack, awaited, mut results, holds } = unanswered;
                self.handlers -= usize::from(ack == Ack::Handled);
                results.append(&mut awaited.take_results());
                self.answer(sequence, ack, results);
                self.release(holds);
            }
        }
    }
}

/// What the bus sends to a participant. Dropping it ends the participant's part.
#[derive(Debug)]
pub(super) struct Outgoing {
    participant: Arc<Participant>,
    /// Reads what the participant sends. `None`: somebody else does, or it has ended.
    reader: Option<AbortOnDropHandle<Result<(), Status>>>,
    /// It is a response, and so has trailers.
    is_response: bool,
    /// Its status was sent.
    has_ended: bool,
}

impl Outgoing {
    pub(super) fn new(participant: Arc<Participant>, reader: AbortOnDropHandle<Result<(), Status>>) -> Self {
        Self { participant, reader: Some(reader), is_response: true, has_ended: false }
    }

    /// As the body of a request, whose response somebody else reads.
    pub(super) fn request(participant: Arc<Participant>) -> Self {
        Self { participant, reader: None, is_response: false, has_ended: false }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Status>>> {
        if let Some(reader) = &mut self.reader
            && let Poll::Ready(ended) = Pin::new(reader).poll(cx)
        {
            self.reader = None;
            match ended {
                Ok(Ok(())) => self.participant.has_sent_all(),
                Ok(Err(status)) => return Poll::Ready(Some(Err(status))),
                Err(_) => return Poll::Ready(Some(Err(Status::internal("reading the stream failed")))),
            }
        }
        match ready!(self.participant.poll_message(cx)) {
            Ok(message) => Poll::Ready(Some(Ok(BodyFrame::data(message)))),
            Err(_) if self.has_ended || !self.is_response => Poll::Ready(None),
            Err(end) => {
                self.has_ended = true;
                Poll::Ready(Some(match end {
                    End::Finished => stream::end(&Status::new(Code::Ok, "")),
                    End::ShuttingDown => Err(Status::unavailable("the host is shutting down")),
                }))
            }
        }
    }
}
