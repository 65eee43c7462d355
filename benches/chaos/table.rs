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

/// Prints what was measured: medians of the times over the rounds, the worst of the counts, and p99 as a multiple of the
/// undisturbed one.
pub(crate) fn print(results: &Results) {
    for contestant in Contestant::ALL {
        let scenarios = Scenario::ALL.map(|scenario| (scenario, name(scenario, contestant.name)));
        if !results.names().any(|measured| scenarios.iter().any(|(_, cell)| cell == measured)) {
            continue;
        }
        let titles = COLUMNS.map(|(title, _)| format!("{title:>10}"));
        println!("{:12}{}  p99 of undisturbed", contestant.name, titles.concat());
        let calm = name(Scenario::Undisturbed, contestant.name);
        for (scenario, cell) in &scenarios {
            if results.metrics(cell).is_empty() {
                continue;
            }
            let figures =
                COLUMNS.map(|(_, metric)| format!("{:>10}", figure(*scenario, cell, metric, results)));
            let tails = |cell: &str| results.figures(cell, Metric::Tail);
            let ratio = Spread::of_ratios(&tails(cell), &tails(&calm));
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2} x", ratio.median));
            println!("{:12}{}  {ratio:>8}", scenario.as_str(), figures.concat());
        }
        if let Some(busy) = median(&calm, Metric::Busy, results) {
            println!("{:12}{:.0} % of all CPUs, undisturbed", "", busy * 100.0);
        }
        let lags = scenarios.iter().flat_map(|(_, cell)| results.figures(cell, Metric::Lag)).flatten();
        if let Some(lag) = Spread::of(lags.collect()) {
            println!(
                "{:12}calls were made up to {} ms late, which is the machine's part",
                "",
                short(lag.max)
            );
        }
        println!();
    }
    print_missing(results);
}

fn median(cell: &str, metric: Metric, results: &Results) -> Option<f64> {
    Some(Spread::of(results.figures(cell, metric).into_iter().flatten().collect())?.median)
}

fn figure(scenario: Scenario, cell: &str, metric: Metric, results: &Results) -> String {
    let figures = results.figures(cell, metric);
    let missing = figures.iter().filter(|figure| figure.is_none()).count();
    let Some(spread) = Spread::of(figures.iter().copied().flatten().collect()) else {
        let never = metric == Metric::Left && scenario.has_bad_instance();
        return if never { "never" } else { "-" }.to_owned();
    };
    match metric {
        Metric::Left if 2 * missing > figures.len() => "never".to_owned(),
        Metric::Median | Metric::Tail | Metric::FarTail | Metric::Left => short(spread.median),
        // What is lost in one round is lost.
        _ => format!("{:.0}", spread.max),
    }
}
