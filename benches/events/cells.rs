//! Every cell: a broker with publishers and subscribers, each a process of its own.

use std::path::Path;

use plugmesh_benches::allocator::Allocator;
use plugmesh_benches::args::Span;
use plugmesh_benches::cell::{Cell, Metric, Missing, Sample};
use plugmesh_benches::process::{Cpus, Process};
use plugmesh_benches::usage;

use crate::role::Role;
use crate::{backlog, bus, durable, flow, nats, round_trip};

/// Bytes of an event's data.
pub(crate) const PAYLOADS: [usize; 2] = [100, 4096];

/// Who carries the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    /// The bus of a host, over its Unix socket.
    Bus,
    /// The same over TCP on loopback, as NATS is.
    BusTcp,
    /// nats-server.
    Nats,
}

impl Broker {
    pub(crate) const ALL: [Self; 3] = [Self::Bus, Self::BusTcp, Self::Nats];

    fn as_str(self) -> &'static str {
        match self {
            Self::Bus => "bus",
            Self::BusTcp => "bus-tcp",
            Self::Nats => "nats",
        }
    }

    fn start(self, folder: &Path, cpus: Cpus) -> Result<(Process, Place), Missing> {
        match self {
            Self::Bus => bus::start(folder, bus::Listen::Unix, None, cpus),
            Self::BusTcp => bus::start(folder, bus::Listen::Tcp, None, cpus),
            Self::Nats => nats::start(cpus),
        }
    }
}

/// Where a broker is.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Place {
    Bus(String),
    Nats(String),
}

fn regime(cpus: Cpus) -> &'static str {
    match cpus {
        Cpus::All => "as-is",
        Cpus::One => "one-cpu",
    }
}

/// Name of a cell of events that flow: `flow/<subscribers>/<bytes>/<broker>`.
pub(crate) fn flow_name(subscribers: usize, payload: usize, broker: Broker) -> String {
    format!("flow/1-{subscribers}/{payload}/{}", broker.as_str())
}

/// Name of a cell of round trips: `round-trip/<cpus>/<broker>`.
pub(crate) fn round_trip_name(cpus: Cpus, broker: Broker) -> String {
    format!("round-trip/{}/{}", regime(cpus), broker.as_str())
}

/// Who keeps events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The journal of a host, without waiting for the disk: as JetStream does.
    Os,
    /// The same, waiting for the disk once for all that comes together.
    Batch,
    /// nats-server's JetStream, in files.
    JetStream,
}

impl Keeper {
    pub(crate) const ALL: [Self; 3] = [Self::Os, Self::Batch, Self::JetStream];

    fn as_str(self) -> &'static str {
        match self {
            Self::Os => "bus-os",
            Self::Batch => "bus-batch",
            Self::JetStream => "jetstream",
        }
    }

    fn start(self, folder: &Path) -> Result<(Process, Place), Missing> {
        match self {
            Self::Os => bus::start(folder, bus::Listen::Unix, Some("os"), Cpus::All),
            Self::Batch => bus::start(folder, bus::Listen::Unix, Some("batch"), Cpus::All),
            Self::JetStream => nats::start_jetstream(folder, Cpus::All),
        }
    }
}

/// Name of a cell of events that are kept: `durable/<bytes>/<keeper>`.
pub(crate) fn durable_name(payload: usize, keeper: Keeper) -> String {
    format!("durable/{payload}/{}", keeper.as_str())
}

/// Name of a cell of events that wait: `backlog/<events>`.
pub(crate) fn backlog_name(events: u64) -> String {
    format!("backlog/{events}")
}

/// Name of a cell of events that flow beside subscriptions that do not want them: `beside/<subscriptions>`.
pub(crate) fn beside_name(subscriptions: usize) -> String {
    format!("beside/{subscriptions}")
}

/// Events that wait for a subscriber that takes none.
pub(crate) const BACKLOGS: [u64; 2] = [1_000_000, 4_000_000];

/// Subscriptions that want none of the events.
pub(crate) const BESIDE: [usize; 2] = [1, 10_000];

/// All cells, in the order in which they are printed.
pub(crate) fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for subscribers in [1, 4] {
        for payload in PAYLOADS {
            cells.extend(Broker::ALL.map(|broker| Cell {
                name: flow_name(subscribers, payload, broker),
                reference: Some(flow_name(subscribers, payload, Broker::Nats)),
                run: Box::new(move |span| flow(broker, subscribers, payload, span)),
            }));
        }
    }
    for cpus in [Cpus::All, Cpus::One] {
        cells.extend(Broker::ALL.map(|broker| Cell {
            name: round_trip_name(cpus, broker),
            reference: Some(round_trip_name(cpus, Broker::Nats)),
            run: Box::new(move |span| round_trip(broker, cpus, span)),
        }));
    }
    for payload in PAYLOADS {
        cells.extend(Keeper::ALL.map(|keeper| Cell {
            name: durable_name(payload, keeper),
            reference: Some(durable_name(payload, Keeper::JetStream)),
            run: Box::new(move |span| durable(keeper, payload, span)),
        }));
    }
    cells.extend(BACKLOGS.map(|events| Cell {
        name: backlog_name(events),
        reference: Some(backlog_name(BACKLOGS[0])),
        run: Box::new(move |_| backlog(events)),
    }));
    cells.extend(BESIDE.map(|subscriptions| Cell {
        name: beside_name(subscriptions),
        reference: Some(beside_name(BESIDE[0])),
        run: Box::new(move |span| beside(subscriptions, span)),
    }));
    cells
}

fn durable(keeper: Keeper, payload: usize, span: Span) -> Result<Sample, Missing> {
    let folder = tempfile::tempdir()?;
    let (_keeper, place) = keeper.start(folder.path())?;
    let role = Role::DurablePublisher(durable::Publisher { place, payload, span });
    let mut publisher = Process::role(&role, Cpus::All, Allocator::Mimalloc)?;
    Ok(Sample::from([(Metric::Events, publisher.json()?)]))
}

fn backlog(events: u64) -> Result<Sample, Missing> {
    let folder = tempfile::tempdir()?;
    let (broker, place) = Keeper::Os.start(folder.path())?;
    let role = Role::Backlog(backlog::Backlog { place, events });
    let mut process = Process::role(&role, Cpus::All, Allocator::Mimalloc)?;
    process.line()?;
    Ok(Sample::from([(Metric::Resident, usage::resident_kib_of(broker.pid())?)]))
}

fn beside(subscriptions: usize, span: Span) -> Result<Sample, Missing> {
    let folder = tempfile::tempdir()?;
    let (_broker, place) = Broker::Bus.start(folder.path(), Cpus::All)?;
    let role = Role::Bystander(backlog::Bystander { place: place.clone(), subscriptions });
    let mut bystander = Process::role(&role, Cpus::All, Allocator::Mimalloc)?;
    bystander.line()?;
    flow_at(&place, 1, PAYLOADS[0], span)
}

fn flow(broker: Broker, subscribers: usize, payload: usize, span: Span) -> Result<Sample, Missing> {
    let folder = tempfile::tempdir()?;
    let (_broker, place) = broker.start(folder.path(), Cpus::All)?;
    flow_at(&place, subscribers, payload, span)
}

fn flow_at(place: &Place, subscribers: usize, payload: usize, span: Span) -> Result<Sample, Missing> {
    let mut readers = Vec::new();
    for _ in 0..subscribers {
        let role = Role::Subscriber(flow::Subscriber { place: place.clone() });
        let mut reader = Process::role(&role, Cpus::All, Allocator::Mimalloc)?;
        reader.line()?;
        readers.push(reader);
    }
    let role = Role::Publisher(flow::Publisher { place: place.clone(), payload, span });
    let mut publisher = Process::role(&role, Cpus::All, Allocator::Mimalloc)?;
    let published: u64 = publisher.json()?;
    let mut rate = 0.0;
    for mut reader in readers {
        let (received, seconds): (u64, f64) = reader.json()?;
        if received != published {
            return Err(format!("{published} events were published, and {received} received").into());
        }
        rate += received as f64 / seconds;
    }
    Ok(Sample::from([(Metric::Events, rate)]))
}

fn round_trip(broker: Broker, cpus: Cpus, span: Span) -> Result<Sample, Missing> {
    let folder = tempfile::tempdir()?;
    let (_broker, place) = broker.start(folder.path(), cpus)?;
    let role = Role::Answerer(round_trip::Answerer { place: place.clone() });
    let mut answerer = Process::role(&role, cpus, Allocator::Mimalloc)?;
    answerer.line()?;
    let role = Role::Asker(round_trip::Asker { place, span });
    let mut asker = Process::role(&role, cpus, Allocator::Mimalloc)?;
    let figures: Vec<(Metric, f64)> = asker.json()?;
    Ok(figures.into_iter().collect())
}
