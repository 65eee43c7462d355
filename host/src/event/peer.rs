//! A participant as its peer sees it, frame by frame, for tests.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame as HttpFrame;
use http_body_util::StreamBody;
use plugmesh::cloudevents::Event;
use plugmesh::event::v1::bus_frame::Frame as Told;
use plugmesh::event::v1::client_frame::Frame;
use plugmesh::event::v1::subscription::Members;
use plugmesh::event::v1::{
    Ack, Acknowledge, BusFrame, ClientFrame, Credit as Grant, Delivery, EventResult, Nack, Publish,
    Subscribe, Subscription,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::bus::{Bus, Limits};
use super::entries;
use super::participant::{Participant, Permissions, Until};
use super::stream::Reader;
use super::subscription::Defaults;
use crate::resilience::backoff::Backoff;

pub(super) fn defaults() -> Defaults {
    Defaults {
        queue: 1024,
        max_queue: 100_000,
        bytes: 1 << 20,
        redelivery: entries::Redelivery {
            ack_deadline: Duration::from_secs(30),
            max_attempts: 5,
            backoff: Backoff { initial: Duration::from_secs(1), jitter: 0.0, ..Backoff::default() },
            blocks_key: true,
        },
        group: None,
        durable: None,
    }
}

/// A bus whose time is kept.
pub(super) fn bus() -> Arc<Bus> {
    bus_with(Limits::default())
}

pub(super) fn bus_with(limits: Limits) -> Arc<Bus> {
    let bus = Bus::new(limits, 100, None);
    let keeper = bus.clone();
    tokio::spawn(async move { keeper.keep_time().await });
    bus
}

/// A participant as its peer sees it.
pub(super) struct Peer {
    pub(super) participant: Arc<Participant>,
    pub(super) sender: Option<mpsc::Sender<Result<HttpFrame<Bytes>, Status>>>,
    pub(super) reader: AbortOnDropHandle<Result<(), Status>>,
    pub(super) epoch: u64,
}

impl Peer {
    pub(super) async fn connect(bus: &Arc<Bus>) -> Self {
        Self::connect_as(bus, Permissions::default()).await
    }

    pub(super) async fn connect_as(bus: &Arc<Bus>, permissions: Permissions) -> Self {
        Self::connect_with(bus, permissions, defaults()).await
    }

    pub(super) async fn connect_until(bus: &Arc<Bus>, until: Until) -> Self {
        Self::connect_as_all(bus, Permissions::default(), defaults(), until).await
    }

    pub(super) async fn connect_with(bus: &Arc<Bus>, permissions: Permissions, defaults: Defaults) -> Self {
        Self::connect_as_all(bus, permissions, defaults, Until::HostEnds).await
    }

    async fn connect_as_all(
        bus: &Arc<Bus>,
        permissions: Permissions,
        defaults: Defaults,
        until: Until,
    ) -> Self {
        let participant = Participant::new(bus.clone(), "somebody".into(), permissions, defaults, until);
        participant.welcome();
        let (sender, receiver) = mpsc::channel(1000);
        let body = StreamBody::new(ReceiverStream::new(receiver));
        let reader = Reader::new(participant.clone(), body);
        let reader = AbortOnDropHandle::new(tokio::spawn(reader.run()));
        let mut peer = Self { participant, sender: Some(sender), reader, epoch: 0 };
        let Told::Welcome(welcome) = peer.told().await else { panic!("no welcome") };
        peer.epoch = welcome.epoch;
        peer
    }

    pub(super) fn send_bytes(&self, bytes: impl Into<Bytes>) {
        self.sender.as_ref().unwrap().try_send(Ok(HttpFrame::data(bytes.into()))).unwrap();
    }

    pub(super) fn send(&self, frame: Frame) {
        self.send_bytes(plugmesh::event::frame::message(&ClientFrame { frame: Some(frame) }));
    }

    pub(super) fn publish(&self, sequence: u64, ack: Ack, events: &[Event]) {
        let events = events.iter().map(|event| event.decode().unwrap()).collect();
        self.send(Frame::Publish(Publish { events, sequence, ack: ack as i32, timeout: None }));
    }

    /// Subscribes, and waits until that is in force.
    pub(super) async fn subscribe(&mut self, number: u64, what: Subscription, events: u64) {
        self.send_subscribe(number, what, events);
        let told = self.told().await;
        assert!(matches!(told, Told::Subscribed(_)), "{told:?}");
    }

    pub(super) fn send_subscribe(&self, number: u64, what: Subscription, events: u64) {
        let credit = Some(Grant { subscription: number, events, bytes: 1 << 20 });
        self.send(Frame::Subscribe(Subscribe { subscription: number, what: Some(what), credit }));
    }

    pub(super) fn credit(&self, subscription: u64, events: u64) {
        self.send(Frame::Credit(Grant { subscription, events, bytes: 1 << 20 }));
    }

    pub(super) fn acknowledge(&self, subscription: u64, handled: Vec<u64>, failed: Vec<Nack>) {
        let epoch = self.epoch;
        self.send(Frame::Acknowledge(Acknowledge {
            subscription,
            epoch,
            handled,
            failed,
            in_progress: vec![],
        }));
    }

    /// Goes, as who cuts its stream.
    pub(super) async fn leave(self) {
        let Self { participant, reader, .. } = self;
        let weak = Arc::downgrade(&participant);
        drop(participant);
        reader.abort();
        let _ = reader.await;
        assert!(weak.upgrade().is_none(), "somebody holds it");
    }

    /// The next frame of the bus.
    pub(super) async fn told(&mut self) -> Told {
        let message = poll_fn(|cx| self.participant.poll_message(cx)).await.unwrap();
        BusFrame::decode(message.slice(5..)).unwrap().frame.unwrap()
    }

    /// The next frame, if there is one when nobody has anything to do.
    pub(super) async fn told_by_now(&mut self) -> Option<Told> {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let mut cx = Context::from_waker(Waker::noop());
        match self.participant.poll_message(&mut cx) {
            Poll::Ready(message) => BusFrame::decode(message.unwrap().slice(5..)).unwrap().frame,
            Poll::Pending => None,
        }
    }

    /// Events of the next delivery, by their ids, and the number of the first.
    pub(super) async fn delivered(&mut self) -> (u64, Vec<String>) {
        match self.told().await {
            Told::Delivery(Delivery { sequence, events, .. }) => {
                (sequence, events.into_iter().map(|event| event.id).collect())
            }
            told => panic!("{told:?}"),
        }
    }

    pub(super) async fn published(&mut self) -> (u64, Vec<EventResult>) {
        loop {
            match self.told().await {
                Told::Published(published) => return (published.sequence, published.results),
                Told::Credit(_) => {}
                told => panic!("{told:?}"),
            }
        }
    }
}

pub(super) fn event(topic: &str, id: &str) -> Event {
    Event::builder(topic, "/test").id(id).data(b"x".as_slice()).build().unwrap()
}

pub(super) fn events(topic: &str, ids: std::ops::Range<u32>) -> Vec<Event> {
    ids.map(|id| event(topic, &id.to_string())).collect()
}

pub(super) fn to(pattern: &str) -> Subscription {
    Subscription { patterns: vec![pattern.to_owned()], ..Subscription::default() }
}

pub(super) fn group(pattern: &str, group: &str) -> Subscription {
    let mode = plugmesh::event::v1::Mode::AtLeastOnce as i32;
    Subscription { members: Some(Members::Group(group.to_owned())), mode, ..to(pattern) }
}

pub(super) fn names(ids: &[u32]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
