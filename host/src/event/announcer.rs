//! Tells of events that were given up, by an event.

use std::sync::{Arc, Mutex, PoisonError};

use plugmesh::cloudevents::{BuildError, Event};
use plugmesh::event::v1::Ack;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::bus::Bus;
use super::journal::NewDeadLetter;
use super::local::message;
use super::publish::Publisher;
use super::stream::DEFAULT_WAIT;

/// Topics that only the host itself publishes begin so.
pub(super) const OWN: &str = "plugmesh.";

/// Topic of what is told.
const TOPIC: &str = "plugmesh.dead_letter";

/// Where it comes from.
const SOURCE: &str = "/plugmesh/events";

/// Letters that wait to be told of: a burst of them. Who hears nothing of a later one still finds it among the dead letters.
const MAX_WAITING: usize = 256;

/// Letters on their way to who tells of them.
#[derive(Debug)]
pub(super) struct Announcements {
    letters: Sender<NewDeadLetter>,
    waiting: Mutex<Option<Receiver<NewDeadLetter>>>,
}

impl Default for Announcements {
    fn default() -> Self {
        let (letters, waiting) = channel(MAX_WAITING);
        Self { letters, waiting: Mutex::new(Some(waiting)) }
    }
}

impl Announcements {
    /// Has it told that an event was given up.
    pub(super) fn add(&self, letter: NewDeadLetter) {
        let is_own = Event::from_checked_bytes(letter.event.clone()).event_type().starts_with(OWN);
        // Who cannot handle what is told here would be told of that, and so on.
        if !is_own && self.letters.try_send(letter).is_err() {
            tracing::warn!("more events are given up than can be told of; they are among the dead letters");
        }
    }
}

/// Tells of every event that is given up, until the bus is gone.
pub(super) async fn run(bus: Arc<Bus>) {
    let waiting = bus.announcements.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut waiting) = waiting else { return };
    let mut publisher = Publisher::of_host(bus.clone());
    while let Some(letter) = waiting.recv().await {
        let is_kept = bus.durable().is_some_and(|durable| durable.stream_of(TOPIC).is_some());
        if !is_kept && bus.topics.matching(TOPIC).is_empty() {
            continue;
        }
        match event(&letter) {
            Ok(event) => {
                // Who has no room for it still finds the letter.
                let _ = publisher.publish_message(message(&[event]), Ack::None, DEFAULT_WAIT).await;
            }
            Err(error) => tracing::warn!(%error, "cannot tell of an event that was given up"),
        }
    }
}

/// What is told: the whole event, who gave it up, why, and after how many attempts.
fn event(letter: &NewDeadLetter) -> Result<Event, BuildError> {
    let cause = letter.cause.as_str_name();
    let mut event = Event::builder(TOPIC, SOURCE)
        .time(letter.given_up)
        .attribute("cause", cause.strip_prefix("CAUSE_").unwrap_or(cause))
        .attribute("attempts", i32::try_from(letter.attempts).unwrap_or(i32::MAX));
    for (name, text) in [("subject", &letter.subscription), ("reason", &letter.reason)] {
        if !text.is_empty() {
            event = event.attribute(name, text.as_str());
        }
    }
    event.encoded_message("io.cloudevents.v1.CloudEvent", letter.event.to_vec()).build()
}
