//! Events that flow: one publisher that publishes one at a time, and subscribers that count them and look at their order.

use std::fmt::Write;
use std::time::Instant;

use bytes::Bytes;
use plugmesh_benches::BoxError;
use plugmesh_benches::args::Span;
use plugmesh_sdk::events::{Data, Event, Subscription};
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt;

use crate::cells::Place;
use crate::{bus, nats};

/// Topic of the events.
const TOPIC: &str = "bench.events";

/// What the data of the last event begins with.
const END: u64 = u64::MAX;

/// How many events are published between two looks at the clock.
const STEP: u64 = 256;

/// Events that may wait for a subscriber before its publisher does: as much as makes both sides work at the same time.
const QUEUE: u32 = 16_384;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Publisher {
    pub(crate) place: Place,
    pub(crate) payload: usize,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subscriber {
    pub(crate) place: Place,
}

impl Publisher {
    /// Publishes for as long as it should. Prints how many it has published.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let mut data = vec![0; self.payload];
        let began = Instant::now();
        let goes_on = |number: u64| !number.is_multiple_of(STEP) || began.elapsed() < self.span.measured;
        let mut number = 0;
        match &self.place {
            Place::Bus(address) => {
                let events = bus::connect(address).await?;
                let mut id = String::new();
                while goes_on(number) {
                    id.clear();
                    write!(id, "{number}")?;
                    let data = numbered(&mut data, number);
                    events.publish(Event::builder(TOPIC, "/bench").id(&id).data(data)).await?;
                    number += 1;
                }
                let data = numbered(&mut data, END);
                events.publish(Event::builder(TOPIC, "/bench").id("end").data(data)).await?;
                events.flush().await?;
            }
            Place::Nats(address) => {
                let client = nats::connect(address).await?;
                while goes_on(number) {
                    client.publish(TOPIC, Bytes::copy_from_slice(numbered(&mut data, number))).await?;
                    number += 1;
                }
                client.publish(TOPIC, Bytes::copy_from_slice(numbered(&mut data, END))).await?;
                client.flush().await?;
            }
        }
        println!("{number}");
        // The connection stays until everything has arrived.
        tokio::time::sleep(self.span.measured).await;
        Ok(())
    }
}

/// The data of an event, which begins with its number.
fn numbered(data: &mut [u8], number: u64) -> &[u8] {
    data[..8].copy_from_slice(&number.to_be_bytes());
    data
}

/// Counts what arrives.
#[derive(Debug, Default)]
struct Count {
    began: Option<Instant>,
    next: u64,
}

impl Count {
    /// Takes an event. Gives how many there were and how long they took when it is the last one.
    fn take(&mut self, data: &[u8]) -> Result<Option<(u64, f64)>, BoxError> {
        let number = u64::from_be_bytes(data.get(..8).ok_or("an event is too short")?.try_into()?);
        let began = *self.began.get_or_insert_with(Instant::now);
        if number == END {
            return Ok(Some((self.next, began.elapsed().as_secs_f64())));
        }
        if number != self.next {
            return Err(format!("event {number} came in place of {}", self.next).into());
        }
        self.next += 1;
        Ok(None)
    }
}

impl Subscriber {
    /// Prints a line when it has subscribed, and then how many events came in what time.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let mut count = Count::default();
        let counted = match &self.place {
            Place::Bus(address) => {
                let events = bus::connect(address).await?;
                let what =
                    Subscription { patterns: vec![TOPIC.to_owned()], queue: QUEUE, ..Default::default() };
                let mut subscriber = events.subscribe(what).await?;
                println!();
                loop {
                    let delivered = subscriber.next().await?;
                    let Data::Binary(data) = delivered.event.data() else { return Err("no data".into()) };
                    if let Some(counted) = count.take(data)? {
                        break counted;
                    }
                }
            }
            Place::Nats(address) => {
                let client = nats::connect(address).await?;
                let mut subscriber = client.subscribe(TOPIC).await?;
                client.flush().await?;
                println!();
                loop {
                    let message = subscriber.next().await.ok_or("the connection ended")?;
                    if let Some(counted) = count.take(&message.payload)? {
                        break counted;
                    }
                }
            }
        };
        println!("{}", serde_json::to_string(&counted)?);
        Ok(())
    }
}
