//! The bus of a host, from its configuration to its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use plugmesh::event::v1::Subscription as Wire;
use plugmesh::event::v1::event_bus_service_server::EventBusServiceServer;
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::bus::{Bus, Limits};
use super::durable::Durable;
use super::entries::Redelivery;
#[cfg(feature = "nats")]
use super::journal::StreamId;
use super::journal::{Journal, JournalOptions, OpenError, Opened};
use super::log::Log;
#[cfg(feature = "nats")]
use super::nats;
use super::participant::Permissions;
use super::progress::Progress;
use super::recorder::{Recorder, Recording, recent};
use super::service::{self, Connected, Service};
use super::subscription::{Defaults, Spec};
use super::{announcer, feeder, keeper};
use crate::config::{EventsConfig, RedeliveryConfig};
use crate::resilience::backoff::Backoff;

/// How long the journal may take to do what waits for it when the host ends.
const CLOSING: Duration = Duration::from_secs(5);

/// Events that a subscription may ask to have wait for it: what it holds is bounded in bytes as well.
const MAX_QUEUE: usize = 1 << 20;

/// The event bus of a host. Clones share it; its tasks end when the last of them is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bus: Arc<Bus>,
    defaults: Defaults,
    runtime: Handle,
    /// What the members of a group may that have one by who they are.
    permissions: Mutex<HashMap<String, Permissions>>,
    /// Ends those who work for the journal, when they have done what waits.
    ending: CancellationToken,
    workers: Mutex<Vec<AbortOnDropHandle<()>>>,
    _timekeeping: AbortOnDropHandle<()>,
    _announcing: AbortOnDropHandle<()>,
}

impl Events {
    /// Opens the journal, if there is one, and starts what works for the bus on `runtime`.
    ///
    /// # Errors
    /// There is no journal where one should be.
    pub(crate) async fn open(config: &EventsConfig, runtime: &Handle) -> Result<Self, OpenError> {
        let mut workers = Vec::new();
        let mut spawn = |task| workers.push(AbortOnDropHandle::new(task));
        let opened = open_log(config).await?;
        let (durable, opened) = match opened {
            Some(((durable, to_record), opened)) => (Some((Arc::new(durable), to_record)), opened),
            None => (None, Opened::default()),
        };
        // Numbers rise from run to run, so that an answer for a delivery of an earlier one is told from those of this one.
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let limits = Limits::of_events(config.max_event_size.as_usize());
        let bus =
            Bus::new(limits, clock.as_micros() as u64, durable.as_ref().map(|(durable, _)| durable.clone()));
        let patterns = durable.as_ref().map(|(durable, _)| durable.patterns());
        let defaults = Defaults { durable: patterns, ..defaults(config) };
        restore(&bus, &defaults, opened);
        let ending = CancellationToken::new();
        if let Some((durable, to_record)) = durable {
            match &durable.log {
                Log::Journal(journal) => {
                    let duplicates = recent(journal.as_ref()).await;
                    let recorder =
                        Recorder::new(bus.clone(), durable.clone(), journal.clone(), to_record, duplicates);
                    spawn(runtime.spawn(recorder.run(ending.clone())));
                }
                #[cfg(feature = "nats")]
                Log::Nats(nats) => {
                    let sender = nats::Sender::new(bus.clone(), nats.clone(), to_record);
                    spawn(runtime.spawn(sender.run(ending.clone())));
                    spawn(runtime.spawn(nats::follow(
                        bus.clone(),
                        durable.clone(),
                        nats.clone(),
                        ending.clone(),
                    )));
                }
            }
            spawn(runtime.spawn(feeder::run(bus.clone(), durable.clone(), ending.clone())));
            spawn(runtime.spawn(keeper::run(durable, ending.clone())));
        }
        let timekeeping = AbortOnDropHandle::new(runtime.spawn({
            let bus = bus.clone();
            async move { bus.keep_time().await }
        }));
        let announcing = AbortOnDropHandle::new(runtime.spawn(announcer::run(bus.clone())));
        Ok(Self(Arc::new(Shared {
            bus,
            defaults,
            runtime: runtime.clone(),
            permissions: Mutex::default(),
            ending,
            workers: Mutex::new(workers),
            _timekeeping: timekeeping,
            _announcing: announcing,
        })))
    }

    pub(super) fn bus(&self) -> &Arc<Bus> {
        &self.0.bus
    }

    pub(super) fn defaults(&self) -> &Defaults {
        &self.0.defaults
    }

    /// Where the streams run that the host opens.
    pub(super) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// Says what the members of a group may, whoever of them opens a stream.
    pub(crate) fn permit(&self, group: &str, permissions: Permissions) {
        let mut all = self.0.permissions.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(group.to_owned(), permissions);
    }

    /// What the members of a group may.
    pub(super) fn permissions(&self, group: &str) -> Permissions {
        let all = self.0.permissions.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(group).cloned().unwrap_or_default()
    }

    /// `EventBusService`, for the gateway.
    pub(crate) fn service(&self) -> Connected<EventBusServiceServer<Service>> {
        service::service(self.clone())
    }

    /// Delivers nothing any more, lets everybody answer for what was delivered for as long as `grace`, and ends every stream.
    pub(crate) async fn drain(&self, grace: Duration) {
        self.0.bus.drain(grace).await;
    }

    /// Does what waits for the journal and closes it, when nobody takes part any more.
    pub(crate) async fn close(&self) {
        let Some(durable) = self.0.bus.durable() else { return };
        self.0.ending.cancel();
        let workers = std::mem::take(&mut *self.0.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let closing = async {
            for worker in workers {
                // One that has panicked has logged it.
                let _ = worker.await;
            }
            durable.log.close().await;
        };
        if timeout(CLOSING, closing).await.is_err() {
            tracing::warn!("the journal did not end in time: what was handled last may come once more");
        }
    }
}

/// Opens what keeps events, if anything does.
async fn open_log(
    config: &EventsConfig,
) -> Result<Option<((Durable, mpsc::Receiver<Recording>), Opened)>, OpenError> {
    let (log, streams, opened) = match (&config.journal, &config.nats) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(OpenError::TwoLogs),
        (Some(config), None) => {
            let (journal, opened) = Journal::open(JournalOptions::new(config)).await?;
            report(&opened);
            let streams = config
                .topics
                .iter()
                .filter_map(|topic| Some((topic.pattern.clone(), journal.stream(topic.pattern.as_str())?)));
            let streams = streams.collect();
            (Log::Journal(Arc::new(journal)), streams, opened)
        }
        #[cfg(feature = "nats")]
        (None, Some(config)) => {
            let nats = nats::Nats::open(config).await?;
            let streams = config.topics.iter().map(|topic| (topic.clone(), StreamId::ONLY)).collect();
            (Log::Nats(Arc::new(nats)), streams, Opened::default())
        }
        #[cfg(not(feature = "nats"))]
        (None, Some(_)) => return Err(OpenError::WithoutNats),
    };
    Ok(Some((Durable::new(log, streams), opened)))
}

/// Tells people what was found in the journal.
fn report(opened: &Opened) {
    for damaged in &opened.damaged {
        tracing::error!(?damaged, "events of the journal are damaged; they were put aside");
    }
    for name in &opened.damaged_cursors {
        tracing::error!(name, "what was known of a durable name is damaged: it begins anew");
    }
    if let Some(salvage) = &opened.salvage {
        tracing::error!(?salvage, "the journal was damaged; what is sound was kept");
    }
    for stream in &opened.retired {
        tracing::warn!(
            stream,
            "the journal holds events of topics that are no longer configured; they stay as long as was said last"
        );
    }
}

/// Adds the durable subscriptions that there were.
fn restore(bus: &Bus, defaults: &Defaults, opened: Opened) {
    for cursor in opened.cursors {
        let (progress, what) = Progress::restore(cursor.floor, &cursor.state);
        let spec = Wire::decode(what).ok().and_then(|what| Spec::read(&what, defaults).ok());
        match spec.filter(|spec| spec.durable_name() == Some(&cursor.name)) {
            Some(spec) => bus.restore(spec, progress),
            None => bus.park(cursor.name, progress),
        }
    }
}

fn defaults(config: &EventsConfig) -> Defaults {
    let RedeliveryConfig { ack_deadline, max_attempts, initial_interval, max_interval, blocks_key } =
        config.redelivery;
    let backoff = Backoff { initial: initial_interval, max: max_interval, ..Backoff::default() };
    Defaults {
        queue: config.queue as usize,
        max_queue: MAX_QUEUE,
        bytes: config.queue_size.as_usize(),
        redelivery: Redelivery { ack_deadline, max_attempts, backoff, blocks_key },
        group: None,
        durable: None,
    }
}
