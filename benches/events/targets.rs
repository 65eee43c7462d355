//! What the bus must reach.

use plugmesh_benches::cell::Metric;
use plugmesh_benches::process::Cpus;
use plugmesh_benches::target::{Bound, Figure, Target};

use crate::cells::{
    BACKLOGS, BESIDE, Broker, Keeper, backlog_name, beside_name, durable_name, flow_name, round_trip_name,
};

/// Every target.
pub(crate) fn targets() -> Vec<Target> {
    let flow = |subscribers: usize, least: f64| Target {
        what: format!("events delivered a second, 1 publisher, {subscribers} subscribers"),
        figure: Figure::Ratio {
            cell: flow_name(subscribers, 100, Broker::Bus),
            reference: flow_name(subscribers, 100, Broker::Nats),
            metric: Metric::Events,
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
    let durable = Target {
        what: "events kept a second, 256 at a time, without waiting for the disk".to_owned(),
        figure: Figure::Ratio {
            cell: durable_name(100, Keeper::Os),
            reference: durable_name(100, Keeper::JetStream),
            metric: Metric::Events,
        },
        bound: Bound::AtLeast(0.8),
    };
    // They would be some 200 MB. What grows up to here are the ids that duplicates are known by: 27 MB for a million.
    let backlog = Target {
        what: "KiB of a host with a million events that wait".to_owned(),
        figure: Figure::Of(backlog_name(BACKLOGS[1]), Metric::Resident),
        bound: Bound::AtMost(98_304.0),
    };
    let beside = Target {
        what: "events delivered a second beside 10 000 subscriptions that want none of them".to_owned(),
        figure: Figure::Ratio {
            cell: beside_name(BESIDE[1]),
            reference: beside_name(BESIDE[0]),
            metric: Metric::Events,
        },
        bound: Bound::AtLeast(0.8),
    };
    vec![flow(1, 2.0), flow(4, 4.0), round_trip, durable, backlog, beside]
}
