//! What the mesh must reach.

use plugmesh_benches::cell::Metric;
use plugmesh_benches::target::{Bound, Figure, Target};

use crate::cells::name;
use crate::contestant::Contestant;
use crate::scenario::Scenario;

/// Every target.
pub(crate) fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    for (what, metric) in [
        ("idempotent calls lost", Metric::LostIdempotent),
        ("calls that are not idempotent executed twice", Metric::ExecutedTwice),
    ] {
        targets.extend(Scenario::ALL.map(|scenario| Target {
            what: format!("{what}, {}", scenario.as_str()),
            figure: Figure::Worst(name(scenario, Contestant::MESH), metric),
            bound: Bound::AtMost(0.0),
        }));
    }
    targets.push(Target {
        what: "p99 of all calls, one instance 20 times slower".to_owned(),
        figure: Figure::Ratio {
            cell: name(Scenario::Slow, Contestant::MESH),
            reference: name(Scenario::Undisturbed, Contestant::MESH),
            metric: Metric::Tail,
        },
        bound: Bound::AtMost(2.0),
    });
    targets
}
