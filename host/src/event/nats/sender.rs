//! Gives what is published to durable topics to the stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use plugmesh::causes::with_causes;
use plugmesh::cloudevents::EventRef;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::super::bus::Bus;
use super::super::receipt::Ticket;
use super::super::recorder::Recording;
use super::super::run::events;
use super::pending::{One, Promised};
use super::{ANSWER, Nats};

/// Events for which the answer of the stream is awaited: some milliseconds of what a server takes.
const MAX_OUTSTANDING: usize = 4096;

/// The one task that does it.
#[derive(Debug)]
pub(in super::super) struct Sender {
    bus: Arc<Bus>,
    nats: Arc<Nats>,
    to_record: mpsc::Receiver<Recording>,
    outstanding: FuturesUnordered<BoxFuture<'static, Answer>>,
    next: u64,
}

/// What became of an event.
struct Answer {
    number: u64,
    index: usize,
    bytes: usize,
    ticket: Arc<Ticket>,
    outcome: Result<(u64, bool), PublishError>,
}

impl Sender {
    pub(in super::super) fn new(
        bus: Arc<Bus>,
        nats: Arc<Nats>,
        to_record: mpsc::Receiver<Recording>,
    ) -> Self {
        Self { bus, nats, to_record, outstanding: FuturesUnordered::new(), next: 0 }
    }

    /// Works until it is told to end, and has done all that was asked of it.
    pub(in super::super) async fn run(mut self, ending: CancellationToken) {
        loop {
            let has_room = self.outstanding.len() < MAX_OUTSTANDING;
            let has_some = !self.outstanding.is_empty();
            tokio::select! {
                biased;
                Some(answer) = self.outstanding.next(), if has_some => self.finish(answer),
                recording = self.to_record.recv(), if has_room => match recording {
                    Some(recording) => self.begin(recording).await,
                    None => return,
                },
                () = ending.cancelled(), if !has_some => return,
            }
        }
    }

    /// Sends events, in their order.
    async fn begin(&mut self, recording: Recording) {
        let Recording { run, first, matches, ticket, awaits_handlers, _turn, .. } = recording;
        let ticket = Arc::new(ticket);
        let promised = Arc::new(Promised { matches, _turn });
        let deadline = Instant::now() + ANSWER;
        let mut at = 0;
        for (position, event) in events(run.bytes()).enumerate() {
            let whole = event.end - at;
            at = event.end;
            let event = run.bytes().slice(event);
            let index = first + position;
            let number = self.next;
            self.next += 1;
            let awaits = awaits_handlers.then(|| (ticket.clone(), index));
            self.nats.pending.add(number, One::new(promised.clone(), whole, awaits));
            let bytes = event.len();
            match timeout_at(deadline, self.nats.send(event, number)).await {
                Ok(Ok(sent)) => {
                    let ticket = ticket.clone();
                    self.outstanding.push(Box::pin(async move {
                        let outcome = sent.await.map(|ack| (ack.sequence, ack.duplicate));
                        Answer { number, index, bytes, ticket, outcome }
                    }));
                }
                Ok(Err((code, message))) => self.refuse(number, &ticket, index, code, &message),
                Err(_) => {
                    let (code, message) = self.nats.refusal(&PublishErrorKind::TimedOut.into());
                    self.refuse(number, &ticket, index, code, &message);
                }
            }
        }
    }

    fn finish(&mut self, answer: Answer) {
        let Answer { number, index, bytes, ticket, outcome } = answer;
        match outcome {
            Ok((_, true)) => {
                self.bus.counts.duplicates.fetch_add(1, Ordering::Relaxed);
                ticket.duplicate(index);
                drop(self.nats.pending.take(number));
            }
            Ok((place, false)) => {
                self.bus.count_published(1, bytes);
                self.nats.saw(place);
                let seen = self.bus.durable().map_or(0, |durable| durable.delivered.load(Ordering::SeqCst));
                self.nats.pending.is_at(number, place, seen);
            }
            Err(error) => {
                let (code, message) = self.nats.refusal(&error);
                self.refuse(number, &ticket, index, code, &message);
            }
        }
    }

    fn refuse(&self, number: u64, ticket: &Ticket, index: usize, code: Code, message: &str) {
        ticket.refuse(index, code, message);
        self.bus.counts.refused.fetch_add(1, Ordering::Relaxed);
        drop(self.nats.pending.take(number));
    }
}

impl Nats {
    async fn send(&self, event: Bytes, number: u64) -> Result<PublishAckFuture, (Code, String)> {
        // It was checked when it came in.
        let view = EventRef::check(&event).map_err(|error| (Code::InvalidArgument, error.to_string()))?;
        let topic = view.event_type();
        let subject = self.names.subject(topic).ok_or_else(|| {
            let message = format!(
                "the topic {topic:?} cannot be kept in NATS, where it is a subject: its tokens have no spaces, `*` or `>`"
            );
            (Code::InvalidArgument, message)
        })?;
        let message =
            PublishMessage::build().headers(self.names.headers(view, number)).payload(event.clone());
        let sent = self.context.send_publish(subject, message).await;
        sent.map_err(|error| self.refusal(&error))
    }

    /// What a publisher is told whose event the stream does not take.
    fn refusal(&self, error: &PublishError) -> (Code, String) {
        use std::error::Error as _;
        let servers = &self.servers;
        let said = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => (
                Code::InvalidArgument,
                format!("{error}: the NATS server at {servers} takes no message of that size (max_payload)"),
            ),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => (
                Code::Unavailable,
                format!("NATS at {servers} does not answer; publish it again, it is kept once"),
            ),
            PublishErrorKind::StreamNotFound => {
                (Code::Unavailable, format!("NATS at {servers} has no stream {}", self.names.stream))
            }
            _ if said.is_some_and(|said| is_full(said.error_code())) => {
                (Code::ResourceExhausted, format!("NATS at {servers} has no room: {}", with_causes(error)))
            }
            _ => (Code::Unavailable, format!("NATS at {servers} did not keep it: {}", with_causes(error))),
        }
    }
}

fn is_full(code: ErrorCode) -> bool {
    [
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::STREAM_STORE_FAILED,
    ]
    .contains(&code)
}
