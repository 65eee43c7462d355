//! Events that wait for a subscriber that takes none, and subscriptions that want none.

use plugmesh_benches::BoxError;
use plugmesh_sdk::events::{Event, Subscription};
use serde::{Deserialize, Serialize};

use crate::bus;
use crate::bus::DURABLE;
use crate::cells::Place;

const PAYLOAD: usize = 100;

/// Publishes durable events that a subscriber with a durable name should take, and does not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Backlog {
    pub(crate) place: Place,
    pub(crate) events: u64,
}

/// Has subscriptions to topics that nobody publishes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bystander {
    pub(crate) place: Place,
    pub(crate) subscriptions: usize,
}

impl Backlog {
    /// Prints a line when all are published.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let Place::Bus(address) = &self.place else { return Err("only a bus has one".into()) };
        let (publisher, reader) = (bus::connect(address).await?, bus::connect(address).await?);
        let what = Subscription {
            patterns: vec![DURABLE.to_owned()],
            durable_name: "blocked".to_owned(),
            ..Default::default()
        };
        // It is given as many as its client takes in advance, and asks for no more.
        let _subscriber = reader.subscribe(what).await?;
        let data = [7; PAYLOAD];
        for number in 0..self.events {
            let event = Event::builder(DURABLE, "/bench").id(&number.to_string()).data(&data[..]).build()?;
            publisher.publish(event).await?;
        }
        publisher.flush().await?;
        println!();
        std::future::pending().await
    }
}

impl Bystander {
    /// Prints a line when all subscriptions are in force.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let Place::Bus(address) = &self.place else { return Err("only a bus has them".into()) };
        let events = bus::connect(address).await?;
        let mut subscribers = Vec::with_capacity(self.subscriptions);
        for number in 0..self.subscriptions {
            let patterns = vec![format!("other.n{number}.*")];
            subscribers.push(events.subscribe(Subscription { patterns, ..Default::default() }).await?);
        }
        println!();
        std::future::pending().await
    }
}
