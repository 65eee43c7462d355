//! Gives what comes into the stream to those who are live, in the order of the stream, whoever published it.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use plugmesh::cloudevents::EventRef;
use plugmesh::event::frame::put_event;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::super::bounds::Promise;
use super::super::bus::Bus;
use super::super::durable::Durable;
use super::super::matches::MatchCache;
use super::super::subscription::{Coming, Subscription};
use super::Nats;
use super::read::passing;

/// Messages that are asked for at once.
const BATCH: usize = 1024;

/// How long a request for messages stands, and how often the server says that it does.
const EXPIRES: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long the server keeps what it knows of a tail that does not ask any more.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// After the stream could not be followed.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a subscription that blocks may keep others from events that another host has published.
const WAIT: Duration = Duration::from_secs(5);

struct Tail {
    bus: Arc<Bus>,
    durable: Arc<Durable>,
    nats: Arc<Nats>,
    matches: MatchCache,
    /// Subscriptions that were waited for in vain: not again before they take something.
    stuck: HashSet<Arc<str>>,
    /// Up to here all was given to those who are live.
    position: u64,
    /// When the stream was made that this is a place of.
    created: DateTime,
}

/// Ends what asks for events with a host that is dropped.
struct EndsPulling(Option<Arc<Nats>>);

impl Drop for EndsPulling {
    fn drop(&mut self) {
        if let Some(nats) = &self.0 {
            nats.stop_pulling();
        }
    }
}

/// Follows the stream until it is told to end.
pub(in super::super) async fn follow(
    bus: Arc<Bus>,
    durable: Arc<Durable>,
    nats: Arc<Nats>,
    ending: CancellationToken,
) {
    let mut pulling = EndsPulling(Some(nats.clone()));
    let position = durable.delivered.load(Ordering::SeqCst);
    let mut tail = Tail {
        created: nats.created(),
        bus,
        durable,
        nats,
        matches: MatchCache::default(),
        stuck: HashSet::new(),
        position,
    };
    loop {
        tokio::select! {
            () = ending.cancelled() => break,
            followed = tail.follow() => if let Err(error) = followed {
                tracing::warn!(servers = %tail.nats.servers, error, position = tail.position, "the stream in NATS cannot be followed; trying again");
            }
        }
        tokio::select! {
            () = ending.cancelled() => break,
            () = sleep(PAUSE) => {}
        }
    }
    // What members have said is still to be told: closing ends it.
    pulling.0 = None;
}

impl Tail {
    /// Follows the stream from where it was, until that goes wrong.
    async fn follow(&mut self) -> Result<(), crate::BoxError> {
        let state = self.nats.refresh().await?;
        if self.created != self.nats.created() || state.last_sequence < self.position {
            self.begin_anew(state.last_sequence);
        }
        let stream = self.nats.context.get_stream_no_info(&self.nats.names.stream).await?;
        let consumer = stream.create_consumer(passing(
            "the tail of a plugmesh host",
            DeliverPolicy::ByStartSequence { start_sequence: self.position + 1 },
            FORGOTTEN,
        ));
        let consumer = consumer.await?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).expires(EXPIRES).heartbeat(HEARTBEAT);
        let mut messages = messages.messages().await?;
        let mut expected = 1;
        while let Some(message) = messages.next().await {
            let message = message?;
            let info = message.info().map_err(|error| error.to_string())?;
            if info.consumer_sequence != expected {
                return Err("messages were lost on the way".into());
            }
            let place = info.stream_sequence;
            expected += 1;
            self.deliver(&message, place).await;
        }
        Err("the server has ended it".into())
    }

    /// The stream is another one, or has lost events. What it holds nobody has seen, and what was read of the other says nothing about it.
    fn begin_anew(&mut self, last: u64) {
        tracing::error!(
            position = self.position,
            last,
            "the stream in NATS was made anew, or has lost events: it does not go on where it was"
        );
        self.created = self.nats.created();
        self.position = 0;
        self.durable.head.store(0, Ordering::SeqCst);
        self.durable.delivered.store(0, Ordering::SeqCst);
        // What is not there any more never comes.
        self.nats.pending.passed(u64::MAX);
        for subscription in self.bus.subscriptions().iter().filter(|one| one.has_progress()) {
            let message = "the stream in NATS was made anew, or has lost events: subscribe again".to_owned();
            self.bus.refuse(subscription, Code::DataLoss, message);
        }
    }

    /// Gives an event to those who are live.
    async fn deliver(&mut self, message: &Message, place: u64) {
        if place <= self.position {
            return;
        }
        let own = self.nats.names.own_number(message.headers.as_ref());
        let own = own.and_then(|number| self.nats.pending.take(number));
        if place > self.position + 1 {
            // Those in between were removed before they came.
            self.nats.pending.passed(place);
        }
        self.nats.saw(place);
        // Before looking at the topics: see `Subscription::push_read`.
        self.durable.head.store(place, Ordering::SeqCst);
        let event = message.payload.clone();
        match EventRef::check(&event) {
            Ok(view) => {
                let matches = self.matches.look_up(view.event_type(), &self.bus, |_| true);
                let whole = whole(&event);
                let wanting: Vec<_> =
                    matches.subscriptions.iter().filter(|subscription| subscription.admits(view)).collect();
                let is_own = own.is_some();
                let awaits = own.as_ref().and_then(|own| own.awaits.clone());
                // What was promised to the publisher is free again, and used at once.
                drop(own);
                for subscription in wanting {
                    let promise = match is_own {
                        true => Some(Promise::default()),
                        false => self.promise(subscription, whole.len()).await,
                    };
                    let Some(promise) = promise else {
                        subscription.miss_live();
                        continue;
                    };
                    let receipt =
                        awaits.as_ref().map(|(ticket, index)| ticket.receipt(*index, &subscription.name));
                    let coming = Coming { event: &event, whole: &whole, view, place: Some(place) };
                    subscription.push(coming, receipt, promise);
                }
            }
            Err(error) => {
                tracing::warn!(place, subject = %message.subject, %error, "what is in the stream in NATS is no event; it is passed over");
            }
        }
        self.position = place;
        self.durable.delivered.store(place, Ordering::SeqCst);
    }

    /// Waits for room in a subscription whose publishers should wait. `None`: there was none in time, and the event is gone for it.
    async fn promise(&mut self, subscription: &Arc<Subscription>, bytes: usize) -> Option<Promise> {
        if !subscription.blocks() {
            return Some(Promise::default());
        }
        let wanted = Promise { events: 1, bytes };
        let wait = if self.stuck.contains(&subscription.name) { Duration::ZERO } else { WAIT };
        let room = poll_fn(|cx| match subscription.promise(wanted, cx.waker()) {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        });
        match timeout(wait, room).await {
            Ok(()) => {
                self.stuck.remove(&subscription.name);
                Some(wanted)
            }
            Err(_) => {
                self.stuck.insert(subscription.name.clone());
                None
            }
        }
    }
}

/// An event with its tag and length.
pub(super) fn whole(event: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    put_event(event, &mut bytes);
    bytes.freeze()
}
