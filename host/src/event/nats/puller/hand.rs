//! Events that JetStream has given to this host, and is to hear of.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use tokio::sync::Notify;

use super::super::super::pulled::Settled;

/// Events that are done and remembered: an answer that was lost brings them again within seconds.
const MAX_REMEMBERED: usize = 65_536;

/// The events of a durable name that are with this host.
#[derive(Default)]
pub(super) struct Hand {
    state: Mutex<State>,
    changed: Notify,
}

impl std::fmt::Debug for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hand").field("events", &self.state().ackers.len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    ackers: HashMap<u64, Arc<Acker>>,
    /// Those that were done last, the oldest first.
    done: VecDeque<u64>,
    is_done: HashSet<u64>,
}

/// What is known of an event that came.
pub(super) enum Found {
    New,
    /// It is here: JetStream has waited in vain, and is answered as to this delivery.
    Here,
    /// It is done, and the answer was lost.
    Done(Box<Acker>),
}

impl Hand {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever asks for events look at the subscription.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until somebody does.
    pub(super) async fn woken(&self) {
        self.changed.notified().await;
    }

    /// An event came.
    pub(super) fn add(&self, place: u64, acker: Acker) -> Found {
        let mut state = self.state();
        if state.is_done.contains(&place) {
            return Found::Done(Box::new(acker));
        }
        match state.ackers.insert(place, Arc::new(acker)) {
            Some(_) => Found::Here,
            None => Found::New,
        }
    }

    /// Says what became of events.
    pub(super) async fn settle(&self, settled: Settled) -> Result<(), async_nats::Error> {
        for (places, is_done) in [(settled.done, true), (settled.given_back, false)] {
            for place in places {
                let acker = {
                    let mut state = self.state();
                    if is_done {
                        state.remember(place);
                    }
                    state.ackers.remove(&place)
                };
                let Some(acker) = acker else { continue };
                match is_done {
                    true => acker.ack().await?,
                    false => acker.ack_with(AckKind::Nak(None)).await?,
                }
            }
        }
        self.wake();
        Ok(())
    }

    /// Says of all events that they are still here.
    pub(super) async fn touch(&self) {
        let ackers: Vec<_> = self.state().ackers.values().cloned().collect();
        for acker in ackers {
            if let Err(error) = acker.ack_with(AckKind::Progress).await {
                tracing::debug!(%error, "NATS was not told that an event is still being handled");
            }
        }
    }
}

impl State {
    fn remember(&mut self, place: u64) {
        if self.is_done.insert(place) {
            self.done.push_back(place);
        }
        if self.done.len() > MAX_REMEMBERED
            && let Some(oldest) = self.done.pop_front()
        {
            self.is_done.remove(&oldest);
        }
    }
}
