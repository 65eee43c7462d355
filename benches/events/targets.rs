//! What the bus must reach.

use plugmesh_benches::cell::Metric;
use plugmesh_benches::process::Cpus;
use plugmesh_benches::target::{Bound, Figure, Target};

use crate::cells::{Broker, flow_name, round_trip_name};

/// Every target.
pub(crate) fn targets() -> Vec<Target> {
    let flow = |subscribers: usize, least: f64| Target {
        what: format!("events delivered a second, 1 publisher, {subscribers} subscribers"),
        figure: Figure::Ratio {
            cell: flow_name(subscribers, 100, Broker::Bus),
            reference: flow_name(subscribers, 100, Broker::Nats),
            metric: Metric::Rate,
        },
        bound: Bound::AtLeast(least),
    };
    let round_trip = Target {
        what: "publish, handle and acknowledge, p50".to_owned(),
        figure: Figure::Ratio {
            cell: round_trip_name(Cpus::All, Broker::Bus),
            reference: round_trip_name(Cpus::All, Broker::Nats),
            metric: Metric::P50,
        },
        bound: Bound::AtMost(1.0),
    };
    vec![flow(1, 2.0), flow(4, 4.0), round_trip]
}
