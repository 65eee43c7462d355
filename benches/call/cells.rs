//! Every cell.

use plugmesh_benches::allocator::Allocator;
use plugmesh_benches::args::Span;
use plugmesh_benches::cell::{Cell, Metric, Missing, Sample};
use plugmesh_benches::load::Load;
use plugmesh_benches::peers::Peer;
use plugmesh_benches::process::{Cpus, Process};

use crate::client::{self, Connections, Side, Target};
use crate::hop::{self, Kind};
use crate::in_process::What;
use crate::place::{Place, Transport};
use crate::role::Role;
use crate::server::Plugin;
use crate::{cold_start, gateway, in_process, memory};

/// Bytes of payload each way.
const PAYLOAD: usize = 100;

const REGIMES: [Cpus; 2] = [Cpus::All, Cpus::One];

/// All cells, in the order in which they are printed.
pub(crate) fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for cpus in REGIMES {
        for transport in [Transport::Unix, Transport::Tls] {
            direct(&mut cells, transport, cpus);
        }
        hops(&mut cells, cpus);
        in_processes(&mut cells, cpus);
    }
    cold_starts(&mut cells);
    memories(&mut cells);
    cells
}

/// Whether a cell is among the few of a smoke run: one of each kind.
pub(crate) fn is_smoke(name: &str) -> bool {
    let direct =
        name.starts_with("direct/") && name.contains("/1c/16/") && !name.starts_with("direct/one-cpu");
    let hop = name.starts_with("hop/as-is/16/");
    direct || hop || name.starts_with("in-process/as-is/") || name.starts_with("cold-start/unix/")
}

/// Name of a direct cell: `direct/<cpus>/<transport>/<connections>c/<in flight>/<side>`.
pub(crate) fn direct_name(at: Direct, side: &str) -> String {
    let connections = match at.connections {
        Connections::Fixed(count) => format!("{count}c"),
        Connections::Default => "default-c".to_owned(),
    };
    format!("direct/{}/{}/{connections}/{}/{side}", regime(at.cpus), at.transport.as_str(), at.in_flight)
}

/// Where a direct cell stands in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct {
    pub(crate) cpus: Cpus,
    pub(crate) transport: Transport,
    pub(crate) connections: Connections,
    pub(crate) in_flight: usize,
}

pub(crate) fn regime(cpus: Cpus) -> &'static str {
    match cpus {
        Cpus::All => "as-is",
        Cpus::One => "one-cpu",
    }
}

fn direct(cells: &mut Vec<Cell>, transport: Transport, cpus: Cpus) {
    for connections in [Connections::Fixed(1), Connections::Fixed(4), Connections::Default] {
        for in_flight in [1, 16, 64, 256] {
            let at = Direct { cpus, transport, connections, in_flight };
            for side in [Side::Plain, Side::Mesh, Side::MeshOrdinary] {
                cells.push(Cell {
                    name: direct_name(at, side.as_str()),
                    reference: Some(direct_name(at, Side::Plain.as_str())),
                    run: Box::new(move |span| call(at, side, Plugin::Sdk, span)),
                });
            }
        }
    }
    // The same against a plugin that is a tonic program with its defaults.
    for in_flight in [1, 64] {
        let at = Direct { cpus, transport, connections: Connections::Fixed(1), in_flight };
        for side in [Side::Plain, Side::Mesh, Side::MeshOrdinary] {
            let name = |side: Side| direct_name(at, &format!("{}@tonic", side.as_str()));
            cells.push(Cell {
                name: name(side),
                reference: Some(name(Side::Plain)),
                run: Box::new(move |span| call(at, side, Plugin::Tonic, span)),
            });
        }
    }
}

fn call(at: Direct, side: Side, plugin: Plugin, span: Span) -> Result<Sample, Missing> {
    let folder = tempfile::tempdir()?;
    let (_server, target) = match (side, plugin) {
        (Side::Mesh | Side::MeshOrdinary, Plugin::Sdk) => {
            (None, Target::Launched { transport: at.transport, cpus: at.cpus })
        }
        _ => {
            let (server, place) = plugin.start(at.transport.place(&folder)?, at.cpus)?;
            let target = Target::Running { place, server: server.pid(), hop: None };
            (Some(server), target)
        }
    };
    let load = Load { in_flight: at.in_flight, payload: PAYLOAD, span };
    let spec = client::Spec { side, target, connections: at.connections, load };
    sample(&Role::Client(spec), at.cpus, side.allocator())
}

/// What a role that measures something tells.
fn sample(role: &Role, cpus: Cpus, allocator: Allocator) -> Result<Sample, Missing> {
    let mut process = Process::role(role, cpus, allocator)?;
    let figures: Vec<(Metric, f64)> = process.json()?;
    Ok(figures.into_iter().collect())
}

/// What stands between client and plugin.
#[derive(Clone, Copy, Debug)]
enum Hop {
    None,
    Own(Kind),
    Peer(Peer),
    Gateway,
}

impl Hop {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "direct",
            Self::Own(Kind::Relay) => "relay",
            Self::Own(Kind::Hyper) => "hyper",
            Self::Peer(peer) => peer.program(),
            Self::Gateway => "gateway",
        }
    }
}

/// Name of a cell with a hop: `hop/<cpus>/<in flight>/<hop>`.
pub(crate) fn hop_name(cpus: Cpus, in_flight: usize, hop: &str) -> String {
    format!("hop/{}/{in_flight}/{hop}", regime(cpus))
}

fn hops(cells: &mut Vec<Cell>, cpus: Cpus) {
    for in_flight in [1, 16, 64, 256] {
        let own = [Hop::None, Hop::Gateway, Hop::Own(Kind::Relay), Hop::Own(Kind::Hyper)];
        for hop in own.into_iter().chain(Peer::ALL.map(Hop::Peer)) {
            cells.push(Cell {
                name: hop_name(cpus, in_flight, hop.as_str()),
                reference: Some(hop_name(cpus, in_flight, Hop::None.as_str())),
                run: Box::new(move |span| through(hop, in_flight, cpus, span)),
            });
        }
    }
}

fn through(hop: Hop, in_flight: usize, cpus: Cpus, span: Span) -> Result<Sample, Missing> {
    let folder = tempfile::tempdir()?;
    let upstream = folder.path().join("plugin.sock");
    let listen = folder.path().join("hop.sock");
    let (server, _) = Plugin::Sdk.start(Place::Unix(upstream.clone()), cpus)?;
    let (between, place) = match hop {
        Hop::None => (None, upstream),
        Hop::Own(kind) => {
            let spec = hop::Spec { kind, listen: listen.clone(), upstream };
            let mut process = Process::role(&Role::Hop(spec), cpus, Allocator::System)?;
            process.line()?;
            (Some(process), listen)
        }
        Hop::Peer(peer) => (Some(peer.start(folder.path(), &listen, &upstream, cpus)?), listen),
        Hop::Gateway => {
            let spec = gateway::Spec { listen: listen.clone(), upstream };
            let mut process = Process::role(&Role::Gateway(spec), cpus, Allocator::Mimalloc)?;
            process.line()?;
            (Some(process), listen)
        }
    };
    let hop = between.as_ref().map(Process::pid);
    let spec = client::Spec {
        side: Side::Plain,
        target: Target::Running { place: Place::Unix(place), server: server.pid(), hop },
        connections: Connections::Fixed(1),
        load: Load { in_flight, payload: PAYLOAD, span },
    };
    sample(&Role::Client(spec), cpus, Side::Plain.allocator())
}

/// Name of an in-process cell.
pub(crate) fn in_process_name(cpus: Cpus, what: What) -> String {
    format!("in-process/{}/{}", regime(cpus), what.as_str())
}

fn in_processes(cells: &mut Vec<Cell>, cpus: Cpus) {
    for what in [What::Bare, What::Mesh, What::Resilience] {
        cells.push(Cell {
            name: in_process_name(cpus, what),
            reference: Some(in_process_name(cpus, What::Bare)),
            run: Box::new(move |span| {
                let spec = in_process::Spec { what, payload: PAYLOAD, span };
                sample(&Role::InProcess(spec), cpus, Allocator::Mimalloc)
            }),
        });
    }
}

/// Name of a cell of starts.
pub(crate) fn cold_start_name(transport: Transport, mesh: bool) -> String {
    format!("cold-start/{}/{}", transport.as_str(), if mesh { "mesh" } else { "bare" })
}

fn cold_starts(cells: &mut Vec<Cell>) {
    for transport in [Transport::Unix, Transport::Tls] {
        for mesh in [false, true] {
            cells.push(Cell {
                name: cold_start_name(transport, mesh),
                reference: Some(cold_start_name(transport, false)),
                run: Box::new(move |span| {
                    let starts = if span.measured.as_millis() < 500 { 3 } else { 20 };
                    let spec = cold_start::Spec { mesh, transport, starts };
                    sample(&Role::ColdStart(spec), Cpus::All, Allocator::Mimalloc)
                }),
            });
        }
    }
}

/// Name of a cell of memory.
pub(crate) fn memory_name(transport: Transport, side: Side) -> String {
    format!("memory/{}/{}", transport.as_str(), side.as_str())
}

fn memories(cells: &mut Vec<Cell>) {
    for transport in [Transport::Unix, Transport::Tls] {
        for side in [Side::Plain, Side::Mesh, Side::MeshOrdinary] {
            cells.push(Cell {
                name: memory_name(transport, side),
                reference: Some(memory_name(transport, Side::Plain)),
                run: Box::new(move |_| memory(transport, side)),
            });
        }
    }
}

/// Each count in a process of its own, so that no memory is counted which an allocator kept from before.
fn memory(transport: Transport, side: Side) -> Result<Sample, Missing> {
    let folder = tempfile::tempdir()?;
    let (_server, place) = Plugin::Sdk.start(transport.place(&folder)?, Cpus::All)?;
    let resident = |endpoints| {
        let spec = memory::Spec { side, place: place.clone(), endpoints };
        let sample = sample(&Role::Memory(spec), Cpus::All, side.allocator())?;
        sample.get(&Metric::Resident).copied().ok_or_else(|| Missing::Failed("no figure".into()))
    };
    let one = resident(1)?;
    let mut figures = Sample::from([(Metric::Resident, one)]);
    for (count, metric) in [(100, Metric::PerEndpoint100), (1000, Metric::PerEndpoint1000)] {
        figures.insert(metric, (resident(count)? - one) / (count - 1) as f64);
    }
    Ok(figures)
}
