//! The event bus: CloudEvents from those who publish to those who subscribed.

#![allow(dead_code, unused_imports, reason = "the journal is not wired in yet")]

mod bounds;
mod bus;
mod dead_letters;
mod entries;
mod filter;
pub(crate) mod journal;
mod matches;
mod outbox;
mod parcel;
mod participant;
mod publish;
mod receipt;
mod run;
mod runs;
mod service;
mod stream;
mod subscription;
mod timekeeper;
mod topics;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plugmesh::event::v1::event_bus_service_server::EventBusServiceServer;

use self::bus::{Bus, Limits};
use self::entries::Redelivery;
use self::service::{Connected, Service};
use self::subscription::Defaults;
use crate::resilience::backoff::Backoff;

/// The event bus of a host. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    bus: Arc<Bus>,
    defaults: Defaults,
}

impl Events {
    pub(crate) fn new() -> Self {
        // Numbers rise from run to run, so that an answer for a delivery of an earlier one is told from those of this one.
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let bus = Bus::new(Limits::default(), clock.as_micros() as u64);
        Self { bus, defaults: defaults() }
    }

    /// `EventBusService`, for the gateway.
    pub(crate) fn service(&self) -> Connected<EventBusServiceServer<Service>> {
        service::service(self.bus.clone(), self.defaults.clone())
    }

    /// Delivers nothing any more, and ends every stream.
    pub(crate) fn drain(&self) {
        self.bus.drain();
    }

    /// Does what is due until it is dropped.
    pub(crate) async fn keep_time(self) {
        self.bus.keep_time().await;
    }
}

fn defaults() -> Defaults {
    Defaults {
        queue: 1024,
        max_queue: 1 << 20,
        bytes: 64 << 20,
        redelivery: Redelivery {
            ack_deadline: Duration::from_secs(30),
            max_attempts: 5,
            backoff: Backoff {
                initial: Duration::from_secs(1),
                max: Duration::from_secs(60),
                ..Backoff::default()
            },
            blocks_key: true,
        },
        group: None,
    }
}
