//! What the bus must reach.

use plugmesh_benches::cell::Metric;
use plugmesh_benches::process::Cpus;
use plugmesh_benches::target::{Bound, Figure, Target};

use crate::cells::{
    BACKLOGS, BESIDE, Broker, Keeper, backlog_name, beside_name, durable_name, flow_name, round_trip_name,
};

/// Every target.
pub(crate) fn targets() -> Vec<Target> {
    let ratio = |what: &str, metric, cell: String, reference: String, bound| Target {
        what: what.to_owned(),
        figure: Figure::Ratio { cell, reference, metric },
        bound,
    };
    let flow = |subscribers, least| {
        ratio(
            &format!("events delivered a second, 1 publisher, {subscribers} subscribers"),
            Metric::Events,
            flow_name(subscribers, 100, Broker::Bus),
            flow_name(subscribers, 100, Broker::Nats),
            Bound::AtLeast(least),
        )
    };
    let round_trip = ratio(
        "publish, handle and acknowledge, p50",
        Metric::P50,
        round_trip_name(Cpus::All, Broker::Bus),
        round_trip_name(Cpus::All, Broker::Nats),
        Bound::AtMost(1.0),
    );
    let durable = ratio(
        "events kept a second, 256 at a time, without waiting for the disk",
        Metric::Events,
        durable_name(100, Keeper::Os),
        durable_name(100, Keeper::JetStream),
        Bound::AtLeast(0.8),
    );
    // In memory they would be some 200 MB and 800 MB. With the first million everything that has a bound has reached it: the ids that
    // duplicates are known by are the largest of it, 27 MB.
    let backlog = ratio(
        "memory of a host with four million events that wait, of that with one million",
        Metric::Resident,
        backlog_name(BACKLOGS[1]),
        backlog_name(BACKLOGS[0]),
        Bound::AtMost(1.1),
    );
    let beside = ratio(
        "events delivered a second beside 10 000 subscriptions that want none of them",
        Metric::Events,
        beside_name(BESIDE[1]),
        beside_name(BESIDE[0]),
        Bound::AtLeast(0.8),
    );
    vec![flow(1, 2.0), flow(4, 4.0), round_trip, durable, backlog, beside]
}
