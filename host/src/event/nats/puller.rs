//! Events of durable names: a pull consumer of JetStream hands them out to all hosts that have members.

mod consumer;
mod hand;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{AckKind, ErrorCode, Message};
use futures_util::StreamExt;
use plugmesh::causes::with_causes;
use plugmesh::cloudevents::EventRef;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;

use self::hand::{Found, Hand};
use super::super::bus::Bus;
use super::super::journal::JournalError;
use super::super::progress::Start;
use super::super::pulled::Settled;
use super::super::subscription::{Standing, Subscription};
use super::Nats;
use super::names::Names;

/// How often a host says that it still has an event: JetStream misses none while two of these are lost.
const TOUCH: Duration = Duration::from_secs(3);

/// Events that are asked for at once, and how long the request stands.
const BATCH: usize = 512;
const EXPIRES: Duration = Duration::from_secs(5);

/// After JetStream could not be asked.
const PAUSE: Duration = Duration::from_millis(500);

/// Those who ask for events, by durable name.
#[derive(Debug, Default)]
pub(super) struct Pullers(Mutex<HashMap<String, Puller>>);

#[derive(Debug)]
struct Puller {
    subscription: Arc<Subscription>,
    hand: Arc<Hand>,
    task: AbortOnDropHandle<()>,
}

impl Pullers {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Puller>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nats {
    /// Has a consumer hand out the events of a durable name.
    pub(in super::super) fn hand_out(
        self: &Arc<Self>,
        bus: &Arc<Bus>,
        subscription: &Arc<Subscription>,
        start: Option<Start>,
    ) {
        let Some(name) = subscription.spec.durable_name() else { return };
        let mut pullers = self.pullers.all();
        if let Some(puller) = pullers.get(name)
            && Arc::ptr_eq(&puller.subscription, subscription)
        {
            puller.hand.wake();
            return;
        }
        // Of a subscription that wanted something else.
        let before = pullers.remove(name).map(|puller| puller.task).inspect(AbortOnDropHandle::abort);
        let hand = Arc::new(Hand::default());
        let work = Work {
            nats: self.clone(),
            bus: bus.clone(),
            subscription: subscription.clone(),
            hand: hand.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(work.run(start.unwrap_or(Start::End), before)));
        pullers.insert(name.to_owned(), Puller { subscription: subscription.clone(), hand, task });
    }

    /// Has whoever asks for the events of a subscription see whether it still should.
    pub(in super::super) fn look_at(&self, subscription: &Subscription) {
        let Some(name) = subscription.spec.durable_name() else { return };
        let pullers = self.pullers.all();
        if let Some(puller) = pullers.get(name) {
            puller.hand.wake();
        }
    }

    /// Asks for no events any more.
    pub(super) fn stop_pulling(&self) -> Vec<AbortOnDropHandle<()>> {
        let pullers = std::mem::take(&mut *self.pullers.all());
        pullers.into_values().map(|puller| puller.task).inspect(AbortOnDropHandle::abort).collect()
    }

    /// Says what became of events.
    pub(super) async fn settle(&self, name: &str, settled: Settled) -> Result<(), JournalError> {
        let hand = {
            let pullers = self.pullers.all();
            pullers.get(name).map(|puller| puller.hand.clone())
        };
        let Some(hand) = hand else { return Ok(()) };
        let settled = hand.settle(settled).await;
        settled.map_err(|error| self.broken("take the answers for events", error))
    }

    /// Deletes a durable name. `false`: there is none.
    ///
    /// # Errors
    /// A host asks for its events, or the server does not do it.
    pub(super) async fn forget(&self, name: &str) -> Result<bool, JournalError> {
        let gone = self.pullers.all().remove(name);
        if let Some(puller) = gone {
            puller.task.abort();
            let _ = puller.task.await;
        }
        let stream = self.context.get_stream_no_info(&self.names.stream).await;
        let stream = stream.map_err(|error| self.broken("answer for its stream", error))?;
        match stream.consumer_info(&Names::consumer(name)).await {
            Ok(info) if info.num_waiting > 0 => {
                return Err(JournalError::NameInUse { name: name.to_owned() });
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => return Ok(false),
            Err(error) => return Err(self.broken("answer for the durable name", error)),
        }
        let deleted = stream.delete_consumer(&Names::consumer(name)).await;
        match deleted {
            Ok(_) => Ok(true),
            Err(error) if is_unknown(&error) => Ok(false),
            Err(error) => Err(self.broken("delete the durable name", error)),
        }
    }
}

fn is_unknown(error: &ConsumerError) -> bool {
    matches!(error.kind(), ConsumerErrorKind::JetStream(said) if said.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
}

/// What asks for the events of a durable name.
struct Work {
    nats: Arc<Nats>,
    bus: Arc<Bus>,
    subscription: Arc<Subscription>,
    hand: Arc<Hand>,
}

impl Work {
    /// Works until the subscription is none any more.
    async fn run(self, start: Start, before: Option<AbortOnDropHandle<()>>) {
        if let Some(before) = before {
            let _ = before.await;
        }
        let consumer = match self.prepare(start).await {
            Ok(consumer) => consumer,
            Err((code, message)) => return self.bus.refuse(&self.subscription, code, message),
        };
        self.bus.after(&self.subscription, self.subscription.begin_pulling());
        let mut touching = interval(TOUCH);
        touching.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Standing::Refused(..) = self.subscription.standing() {
                return;
            }
            let mut is_gone = false;
            match self.subscription.room_to_pull() {
                None => tokio::select! {
                    () = self.hand.woken() => {}
                    _ = touching.tick() => {
                        self.hand.touch().await;
                        is_gone = self.is_gone(&consumer).await;
                    }
                },
                Some(room) => match self.pull(&consumer, room.min(BATCH), &mut touching).await {
                    Ok(0) => is_gone = self.is_gone(&consumer).await,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(subscription = %self.subscription.name, error = %with_causes(&*error), "NATS hands out no events; asking again");
                        is_gone = self.is_gone(&consumer).await;
                        sleep(PAUSE).await;
                    }
                },
            }
            if is_gone {
                let message = "its durable name was deleted".to_owned();
                return self.bus.refuse(&self.subscription, Code::NotFound, message);
            }
        }
    }

    /// Whether somebody, on this host or another, has deleted the name: a server says nothing to those who ask for its events.
    async fn is_gone(&self, consumer: &Consumer<pull::Config>) -> bool {
        match consumer.get_info().await {
            Ok(info) => {
                self.subscription.waits(info.num_pending);
                false
            }
            Err(error) => matches!(error.kind(), ConsumerInfoErrorKind::NotFound),
        }
    }

    /// Asks for events, and gives them to the subscription until there are as many, or it took too long. Gives how many.
    async fn pull(
        &self,
        consumer: &Consumer<pull::Config>,
        room: usize,
        touching: &mut Interval,
    ) -> Result<usize, crate::BoxError> {
        let mut batch = consumer.batch().max_messages(room).expires(EXPIRES).messages().await?;
        let (mut count, mut waiting) = (0, 0);
        loop {
            tokio::select! {
                biased;
                _ = touching.tick() => {
                    self.subscription.waits(waiting);
                    self.hand.touch().await;
                }
                message = batch.next() => match message {
                    Some(message) => {
                        let message = message?;
                        waiting = message.info()?.pending;
                        count += 1;
                        self.take(message).await?;
                    }
                    None => {
                        self.subscription.waits(waiting);
                        return Ok(count);
                    }
                },
                () = self.hand.woken() => if !self.subscription.has_members() {
                    // What comes from here on is for others.
                    return Ok(count);
                },
            }
        }
    }

    /// Gives an event to the subscription.
    async fn take(&self, message: Message) -> Result<(), crate::BoxError> {
        let (place, delivered) = {
            let info = message.info()?;
            (info.stream_sequence, info.delivered)
        };
        let event = message.payload.clone();
        let is_wanted = EventRef::check(&event).map(|view| self.subscription.wants(view));
        let (_, acker) = message.split();
        match is_wanted {
            Ok(true) => {}
            Ok(false) => return acker.ack().await,
            // The tail has told of it.
            Err(_) => return acker.ack_with(AckKind::Term).await,
        }
        match self.hand.add(place, acker) {
            Found::New => {}
            Found::Here => return Ok(()),
            Found::Done(acker) => return acker.ack().await,
        }
        let attempts = u32::try_from(delivered.saturating_sub(1)).unwrap_or(0);
        self.bus.after(&self.subscription, self.subscription.push_pulled(event, place, attempts));
        Ok(())
    }
}
