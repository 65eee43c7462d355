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
    // In memory they would be some 200 MB and 800 MB. With the first million everything that has a bound has reached it: the ids that
    // duplicates are known by are the largest of it, 27 MB.
    let backlog = Target {
        what: "memory of a host with four million events that wait, of that with one million".to_owned(),
        figure: Figure::Ratio {
            cell: backlog_name(BACKLOGS[1]),
            reference: backlog_name(BACKLOGS[0]),
            metric: Metric::Resident,
        },
        bound: Bound::AtMost(1.1),
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
