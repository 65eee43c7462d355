//! The table: a line for each scenario, a group of columns for each contestant.

use plugmesh_benches::cell::{Metric, Results};
use plugmesh_benches::report::{print_missing, short};
use plugmesh_benches::stats::Spread;

use crate::cells::name;
use crate::contestant::Contestant;
use crate::scenario::Scenario;

const COLUMNS: [(&str, Metric); 10] = [
    ("sent", Metric::Sent),
    ("lost idem", Metric::LostIdempotent),
    ("lost other", Metric::LostOther),
    ("twice", Metric::ExecutedTwice),
    ("repeated", Metric::Repeated),
    ("extra", Metric::ExtraAttempts),
    ("p50 ms", Metric::Median),
    ("p99 ms", Metric::Tail),
    ("p99.9 ms", Metric::FarTail),
    ("left ms", Metric::Left),
];

/// Prints what was measured: medians over the rounds, and p99 as a multiple of the undisturbed one.
pub(crate) fn print(results: &Results) {
    for contestant in Contestant::ALL {
        let scenarios = Scenario::ALL.map(|scenario| (scenario, name(scenario, contestant.name)));
        if !results.names().any(|measured| scenarios.iter().any(|(_, cell)| cell == measured)) {
            continue;
        }
        let titles = COLUMNS.map(|(title, _)| format!("{title:>10}"));
        println!("{:12}{}  p99 of undisturbed", contestant.name, titles.concat());
        for (scenario, cell) in scenarios {
            if results.metrics(&cell).is_empty() {
                continue;
            }
            let figures =
                COLUMNS.map(|(_, metric)| format!("{:>10}", figure(scenario, &cell, metric, results)));
            let tails = |cell: &str| results.figures(cell, Metric::Tail);
            let calm = name(Scenario::Undisturbed, contestant.name);
            let ratio = Spread::of_ratios(&tails(&cell), &tails(&calm));
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2} x", ratio.median));
            println!("{:12}{}  {ratio:>8}", scenario.as_str(), figures.concat());
        }
        let calm = name(Scenario::Undisturbed, contestant.name);
        if let Some(busy) = median(&calm, Metric::Busy, results) {
            println!("{:12}{:.0} % of all CPUs, undisturbed", "", busy * 100.0);
        }
        println!();
    }
    print_missing(results);
}

fn median(cell: &str, metric: Metric, results: &Results) -> Option<f64> {
    Some(Spread::of(results.figures(cell, metric).into_iter().flatten().collect())?.median)
}

fn figure(scenario: Scenario, cell: &str, metric: Metric, results: &Results) -> String {
    let spread = Spread::of(results.figures(cell, metric).into_iter().flatten().collect());
    match (spread, metric) {
        (Some(spread), Metric::Median | Metric::Tail | Metric::FarTail | Metric::Left) => {
            short(spread.median)
        }
        (Some(spread), _) => format!("{:.0}", spread.median),
        (None, Metric::Left) if scenario.has_bad_instance() => "never".to_owned(),
        (None, _) => "-".to_owned(),
    }
}
