//! From a publisher to a handler and back: with the bus an event and its acknowledgement, with NATS a request and its reply.

use std::time::Instant;

use bytes::Bytes;
use plugmesh_benches::BoxError;
use plugmesh_benches::args::Span;
use plugmesh_benches::cell::Metric;
use plugmesh_benches::histogram::Histogram;
use plugmesh_sdk::events::{Ack, Event, Mode, Subscription};
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt;

use crate::cells::Place;
use crate::{bus, nats};

const TOPIC: &str = "bench.asked";
const PAYLOAD: usize = 100;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asker {
    pub(crate) place: Place,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answerer {
    pub(crate) place: Place,
}

impl Asker {
    /// Asks, one at a time, and prints how long that takes.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let data = vec![7; PAYLOAD];
        let mut histogram = Histogram::default();
        let began = Instant::now();
        match &self.place {
            Place::Bus(address) => {
                let events = bus::connect(address).await?;
                while began.elapsed() < self.span.warm_up + self.span.measured {
                    let event = Event::builder(TOPIC, "/bench").id("1").data(&data[..]).build()?;
                    let asked = Instant::now();
                    events.publish_acknowledged(event, Ack::Handled).await?;
                    note(&mut histogram, began, asked, self.span);
                }
            }
            Place::Nats(address) => {
                let client = nats::connect(address).await?;
                let data = Bytes::from(data);
                while began.elapsed() < self.span.warm_up + self.span.measured {
                    let asked = Instant::now();
                    client.request(TOPIC, data.clone()).await?;
                    note(&mut histogram, began, asked, self.span);
                }
            }
        }
        let figures = [(Metric::P50, 0.5), (Metric::P99, 0.99)]
            .map(|(metric, at)| (metric, histogram.quantile(at) / 1e3));
        println!("{}", serde_json::to_string(&figures)?);
        Ok(())
    }
}

fn note(histogram: &mut Histogram, began: Instant, asked: Instant, span: Span) {
    if asked - began >= span.warm_up {
        histogram.record(asked.elapsed().as_nanos() as u64);
    }
}

impl Answerer {
    /// Answers until it is killed. Prints a line when it has subscribed.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        match &self.place {
            Place::Bus(address) => {
                let events = bus::connect(address).await?;
                let mode = Mode::AtLeastOnce as i32;
                let what = Subscription { patterns: vec![TOPIC.to_owned()], mode, ..Default::default() };
                let mut subscriber = events.subscribe(what).await?;
                println!();
                loop {
                    let delivered = subscriber.next().await?;
                    subscriber.handled([delivered.number]);
                }
            }
            Place::Nats(address) => {
                let client = nats::connect(address).await?;
                let mut subscriber = client.subscribe(TOPIC).await?;
                client.flush().await?;
                println!();
                while let Some(message) = subscriber.next().await {
                    let reply = message.reply.ok_or("nobody to reply to")?;
                    client.publish(reply, Bytes::new()).await?;
                }
                Err("the connection ended".into())
            }
        }
    }
}
