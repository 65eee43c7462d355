//! Participants that say anything: each frame is drawn at random, with the numbers at which arithmetic breaks. The daemon is one with
//! checked arithmetic, and a panic is in its log.

use std::sync::{Mutex, PoisonError};

use fastrand::Rng;
use plugmesh::cloudevents::v1::{CloudEvent, cloud_event};
use plugmesh::event::v1::bus_frame::Frame as Told;
use plugmesh::event::v1::client_frame::Frame;
use plugmesh::event::v1::event_bus_service_client::EventBusServiceClient;
use plugmesh::event::v1::subscription::Members;
use plugmesh::event::v1::{
    Acknowledge, ClientFrame, Credit, DeleteDurableNameRequest, GetStatsRequest, Hello,
    ListDeadLettersRequest, Nack, Publish, PurgeDeadLettersRequest, Redelivery, RedriveDeadLettersRequest,
    ReplayRequest, Start, Subscribe, Subscription, Unsubscribe, start::At,
};
use plugmesh_sdk::events::{Ack, Event, Events, Mode};
use plugmesh_tests::{DEADLINE, Daemon};
use prost_types::{Duration as WireDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Streams, one after the other on each of some tasks, and frames of each.
const TASKS: u64 = 4;
const STREAMS: u64 = 12;
const FRAMES: usize = 150;

const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    3,
    100,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];
const TEXTS: [&str; 9] =
    ["", "a", "a.b", "order.placed", "order.>", "a.*", ">", "a..b", "plugmesh.dead_letter"];

/// What a stream has heard, to say things that are nearly right.
#[derive(Debug, Default)]
struct Heard {
    epoch: u64,
    subscriptions: Vec<u64>,
    deliveries: Vec<(u64, u64)>,
}

/// Somebody who talks.
struct Babbler {
    rng: Rng,
}

impl Babbler {
    fn one_in(&mut self, most: u32) -> bool {
        self.rng.u32(..most) == 0
    }

    fn number(&mut self) -> u64 {
        NUMBERS[self.rng.usize(..NUMBERS.len())]
    }

    fn text(&mut self) -> String {
        match self.one_in(20) {
            true => "x".repeat(self.rng.usize(..3000)),
            false => TEXTS[self.rng.usize(..TEXTS.len())].to_owned(),
        }
    }

    fn enumerated(&mut self) -> i32 {
        [0, 1, 2, 3, 4, 5, -1][self.rng.usize(..7)]
    }

    fn duration(&mut self) -> Option<WireDuration> {
        let seconds = [0, 0, 1, -1, 60, 315_576_000_000, i64::MAX, i64::MIN][self.rng.usize(..8)];
        let nanos = [0, 1, 30_000_000, -1, 999_999_999, i32::MAX, i32::MIN][self.rng.usize(..7)];
        self.rng.bool().then_some(WireDuration { seconds, nanos })
    }

    fn time(&mut self) -> Timestamp {
        let seconds = [0, 1, -1, 253_402_300_799, i64::MAX, i64::MIN][self.rng.usize(..6)];
        Timestamp { seconds, nanos: [0, -1, 999_999_999, i32::MAX, i32::MIN][self.rng.usize(..5)] }
    }

    fn credit(&mut self, subscription: u64) -> Credit {
        Credit { subscription, events: self.number(), bytes: self.number() }
    }

    fn event(&mut self) -> CloudEvent {
        let mut event = CloudEvent {
            id: if self.one_in(20) { self.text() } else { self.rng.u64(..).to_string() },
            source: if self.one_in(20) { self.text() } else { "/babble".to_owned() },
            spec_version: if self.one_in(20) { self.text() } else { "1.0".to_owned() },
            r#type: if self.one_in(5) { self.text() } else { "order.placed".to_owned() },
            data: Some(cloud_event::Data::BinaryData(vec![7; self.rng.usize(..2000)].into())),
            ..CloudEvent::default()
        };
        if self.rng.bool() {
            use cloud_event::cloud_event_attribute_value::Attr;
            let attr = match self.rng.u32(..6) {
                0 => Attr::CeTimestamp(self.time()),
                1 => Attr::CeInteger(self.enumerated()),
                _ => Attr::CeString(self.text()),
            };
            let name = ["partitionkey", "partitionkey", "time", "Bad"][self.rng.usize(..4)].to_owned();
            let value = cloud_event::CloudEventAttributeValue { attr: Some(attr) };
            event.attributes.insert(name, value);
        }
        event
    }

    fn subscription(&mut self) -> Subscription {
        let patterns = (0..self.rng.usize(..3)).map(|_| self.text()).chain(["order.>".to_owned()]).collect();
        let start = match self.rng.u32(..8) {
            0 => Some(At::AfterPlace(self.number())),
            1 => Some(At::Time(self.time())),
            2 => Some(At::Beginning(true)),
            3 => Some(At::AfterId(self.text())),
            _ => None,
        };
        let redelivery = Redelivery {
            ack_deadline: self.duration(),
            max_attempts: self.number() as u32,
            initial_interval: self.duration(),
            max_interval: self.duration(),
            on_nack: self.enumerated(),
        };
        let mut what = Subscription {
            patterns,
            start: start.map(|at| Start { at: Some(at) }),
            overflow: self.enumerated(),
            queue: self.number() as u32,
            redelivery: self.rng.bool().then_some(redelivery),
            ..Subscription::default()
        };
        match self.rng.u32(..4) {
            0 => what.durable_name = ["one", "two"][self.rng.usize(..2)].to_owned(),
            1 => what.members = Some(Members::Group("shared".to_owned())),
            2 => what.mode = self.enumerated(),
            _ => what.mode = Mode::AtLeastOnce as i32,
        }
        what
    }

    fn nack(&mut self, sequence: u64) -> Nack {
        Nack { sequence, reason: self.text(), delay: self.duration(), give_up: self.one_in(4) }
    }

    fn acknowledge(&mut self, heard: &Heard) -> Acknowledge {
        let (subscription, number) = self.rng.choice(&heard.deliveries).copied().unwrap_or((1, 1));
        let number = if self.one_in(5) { self.number() } else { number };
        let mut acknowledge = Acknowledge {
            subscription,
            epoch: if self.one_in(20) { self.number() } else { heard.epoch },
            ..Acknowledge::default()
        };
        match self.rng.u32(..4) {
            0 => acknowledge.handled = vec![number, number],
            1 => acknowledge.in_progress = vec![number],
            _ => acknowledge.failed = vec![self.nack(number)],
        }
        acknowledge
    }

    fn frame(&mut self, heard: &Heard) -> Option<Frame> {
        let subscription = self.rng.choice(&heard.subscriptions).copied().unwrap_or_default();
        Some(match self.rng.u32(..20) {
            0..7 => Frame::Publish(Publish {
                events: (0..self.rng.usize(..20)).map(|_| self.event()).collect(),
                sequence: self.number(),
                ack: self.enumerated(),
                // Nobody is made to wait for long.
                timeout: Some(WireDuration { seconds: 0, nanos: self.rng.i32(..20_000_000).max(0) }),
            }),
            7..10 => Frame::Subscribe(Subscribe {
                subscription: self.number(),
                what: Some(self.subscription()),
                credit: match self.rng.u32(..4) {
                    0 => None,
                    1 => Some(self.credit(0)),
                    _ => Some(Credit { subscription: 0, events: 20, bytes: 1 << 20 }),
                },
            }),
            10 => Frame::Unsubscribe(Unsubscribe { subscription }),
            11..16 => Frame::Acknowledge(self.acknowledge(heard)),
            16..19 => Frame::Credit(self.credit(subscription)),
            _ if self.rng.bool() => Frame::Hello(Hello { name: self.text() }),
            _ => return None,
        })
    }

    /// One stream, until everything is said or the bus has had enough.
    async fn stream(&mut self, bus: &mut EventBusServiceClient<Channel>) {
        let (frames, receiver) = mpsc::channel(1);
        let mut told = bus.connect(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let heard = Mutex::new(Heard::default());
        let lock = || heard.lock().unwrap_or_else(PoisonError::into_inner);
        let hear = async {
            while let Ok(Some(frame)) = told.message().await {
                let mut heard = lock();
                match frame.frame {
                    Some(Told::Welcome(welcome)) => heard.epoch = welcome.epoch,
                    Some(Told::Subscribed(subscribed)) => heard.subscriptions.push(subscribed.subscription),
                    Some(Told::Delivery(delivery)) => {
                        let numbers = delivery.sequence..delivery.sequence + delivery.events.len() as u64;
                        heard.deliveries.extend(numbers.map(|number| (delivery.subscription, number)));
                    }
                    _ => {}
                }
            }
        };
        let say = async {
            for _ in 0..FRAMES {
                let frame = self.frame(&lock());
                if frames.send(ClientFrame { frame }).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = hear => {}
            () = say => {}
        }
    }

    /// Calls beside the stream. What is asked may be nonsense; that there is an answer is not.
    async fn calls(&mut self, bus: &mut EventBusServiceClient<Channel>) {
        let (ids, subscription) = (vec![self.number(), self.number()], self.text());
        let redrive = RedriveDeadLettersRequest { ids: ids.clone(), subscription: String::new() };
        answered(bus.redrive_dead_letters(redrive).await);
        if self.one_in(4) {
            answered(bus.purge_dead_letters(PurgeDeadLettersRequest { ids, subscription }).await);
        }
        let page_token = self.number().to_string();
        let list =
            ListDeadLettersRequest { page_token, page_size: self.number() as u32, ..Default::default() };
        answered(bus.list_dead_letters(list).await);
        let start = Some(Start { at: Some(At::AfterPlace(self.number())) });
        let replay = ReplayRequest { patterns: vec![self.text()], start, ..Default::default() };
        if let Some(mut replayed) = answered(bus.replay(replay).await) {
            while let Some(Some(_)) = answered_to(replayed.message().await) {}
        }
        answered(bus.delete_durable_name(DeleteDurableNameRequest { durable_name: self.text() }).await);
    }
}

/// The answer, unless it is a refusal. A call that panicked has neither.
fn answered<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Option<T> {
    answered_to(answer.map(tonic::Response::into_inner))
}

fn answered_to<T>(answer: Result<T, tonic::Status>) -> Option<T> {
    use tonic::Code::{Cancelled, Internal, Unknown};
    match answer {
        Ok(answer) => Some(answer),
        Err(status) => {
            assert!(!matches!(status.code(), Cancelled | Internal | Unknown), "{status:?}");
            None
        }
    }
}

#[tokio::test]
async fn a_host_outlives_whoever_says_anything() {
    let config = "events: {journal: {path: events.db, topics: [{pattern: order.>}]}}";
    let daemon = Daemon::builder().config(config).start().await;
    let tasks = (0..TASKS).map(|task| {
        let mut bus = EventBusServiceClient::new(daemon.channel()).max_decoding_message_size(usize::MAX);
        async move {
            for stream in 0..STREAMS {
                let mut babbler = Babbler { rng: Rng::with_seed(task * STREAMS + stream) };
                babbler.stream(&mut bus).await;
                babbler.calls(&mut bus).await;
            }
        }
    });
    futures_util::future::join_all(tasks).await;
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    // Nothing of all that is left in the way of others.
    let mut bus = EventBusServiceClient::new(daemon.channel());
    let is_quiet = async {
        while bus.get_stats(GetStatsRequest {}).await.unwrap().into_inner().participants > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, is_quiet).await.expect("streams that are over are left");
    let events = Events::connect(daemon.channel(), "a test").await.unwrap();
    let what = Subscription { patterns: vec!["order.placed".to_owned()], ..Subscription::default() };
    let mut seen = events.subscribe(what).await.unwrap();
    let event = Event::builder("order.placed", "/test").id("after all that").build().unwrap();
    let published = tokio::time::timeout(DEADLINE, events.publish_acknowledged(event, Ack::Durable)).await;
    published.expect("an answer").unwrap();
    let received = tokio::time::timeout(DEADLINE, seen.next()).await.expect("an event").unwrap();
    assert_eq!(received.event.id(), "after all that");
    drop((seen, events));
    daemon.stop().await.ok();
}
