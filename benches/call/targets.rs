//! What the call path must reach.

use plugmesh_benches::cell::Metric;
use plugmesh_benches::process::Cpus;
use plugmesh_benches::target::{Bound, Figure, Target};

use crate::cells::{Direct, cold_start_name, direct_name, hop_name, in_process_name, memory_name, regime};
use crate::client::{Connections, Side};
use crate::in_process::What;
use crate::place::Transport;

/// Every target.
pub(crate) fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    recommended(&mut targets);
    ordinary(&mut targets);
    gateway(&mut targets);
    let what = "in-process call, whole path".to_owned();
    let figure = Figure::Of(in_process_name(Cpus::All, What::Mesh), Metric::Call);
    targets.push(Target { what, figure, bound: Bound::AtMost(2.5) });
    targets.push(Target {
        what: "retries and breakers of a call, one cpu".to_owned(),
        figure: Figure::Of(in_process_name(Cpus::One, What::Resilience), Metric::Call),
        bound: Bound::AtMost(1.0),
    });
    for transport in [Transport::Unix, Transport::Tls] {
        targets.push(Target {
            what: format!("spawn to first answer, {}, of bare tonic", transport.as_str()),
            figure: Figure::Ratio {
                cell: cold_start_name(transport, true),
                reference: cold_start_name(transport, false),
                metric: Metric::ColdStart,
            },
            bound: Bound::AtMost(1.5),
        });
    }
    for (transport, bound) in [(Transport::Unix, 45.0), (Transport::Tls, 70.0)] {
        targets.push(Target {
            what: format!("idle endpoint, {}, 1000 of them", transport.as_str()),
            figure: Figure::Of(memory_name(transport, Side::Mesh), Metric::PerEndpoint1000),
            bound: Bound::AtMost(bound),
        });
    }
    targets
}

/// A ratio to the plain side on a Unix socket and one connection.
fn against_plain(side: Side, cpus: Cpus, in_flight: usize, metric: Metric, bound: Bound) -> Target {
    let at = Direct { cpus, transport: Transport::Unix, connections: Connections::Fixed(1), in_flight };
    Target {
        what: format!("{} of plain tonic, {}, {in_flight} in flight", side.as_str(), regime(cpus)),
        figure: Figure::Ratio {
            cell: direct_name(at, side.as_str()),
            reference: direct_name(at, Side::Plain.as_str()),
            metric,
        },
        bound,
    }
}

fn recommended(targets: &mut Vec<Target>) {
    for (cpus, bound) in [(Cpus::All, 0.70), (Cpus::One, 0.85)] {
        targets.push(against_plain(Side::Mesh, cpus, 1, Metric::P50, Bound::AtMost(bound)));
    }
    for cpus in [Cpus::All, Cpus::One] {
        targets.push(against_plain(Side::Mesh, cpus, 64, Metric::Rate, Bound::AtLeast(1.35)));
        targets.push(against_plain(Side::Mesh, cpus, 64, Metric::ClientCpu, Bound::AtMost(0.75)));
    }
}

fn ordinary(targets: &mut Vec<Target>) {
    for cpus in [Cpus::All, Cpus::One] {
        targets.push(against_plain(Side::MeshOrdinary, cpus, 1, Metric::P50, Bound::AtMost(1.0)));
        targets.push(against_plain(Side::MeshOrdinary, cpus, 64, Metric::Rate, Bound::AtLeast(1.10)));
    }
}

fn gateway(targets: &mut Vec<Target>) {
    let rows = [
        ("gate", 1, Metric::P50, Bound::AtMost(2.2)),
        ("gate", 64, Metric::Rate, Bound::AtLeast(0.55)),
        ("goal: ahead of nginx", 1, Metric::P50, Bound::AtMost(1.7)),
        ("goal: ahead of nginx", 64, Metric::Rate, Bound::AtLeast(0.62)),
    ];
    for (what, in_flight, metric, bound) in rows {
        targets.push(Target {
            what: format!("gateway of direct, {in_flight} in flight ({what})"),
            figure: Figure::Ratio {
                cell: hop_name(Cpus::All, in_flight, "gateway"),
                reference: hop_name(Cpus::All, in_flight, "direct"),
                metric,
            },
            bound,
        });
    }
}
