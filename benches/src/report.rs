//! Tables and JSON.

use serde_json::{Map, Value, json};

use crate::cell::{Cell, Metric, Results};
use crate::stats::Spread;
use crate::target::{Bound, Figure, Target, Verdict};

/// Prints every cell: medians with ranges, and ratios to the cell's reference.
pub fn print_table(cells: &[Cell], results: &Results) {
    let width = cells.iter().map(|cell| cell.name.len()).max().unwrap_or(0);
    for cell in cells {
        let metrics = results.metrics(&cell.name);
        if metrics.is_empty() {
            continue;
        }
        let figures: Vec<String> =
            metrics.iter().filter_map(|metric| column(cell, *metric, results)).collect();
        println!("{:width$}  {}", cell.name, figures.join("  "));
    }
    print_missing(results);
}

fn column(cell: &Cell, metric: Metric, results: &Results) -> Option<String> {
    let spread = spread(&cell.name, metric, results)?;
    let text = format!("{} {}", metric.title(), range(spread));
    Some(match ratio(cell, metric, results) {
        Some(ratio) => format!("{text} [{:.2}x]", ratio.median),
        None => text,
    })
}

fn spread(cell: &str, metric: Metric, results: &Results) -> Option<Spread> {
    Spread::of(results.figures(cell, metric).into_iter().flatten().collect())
}

fn ratio(cell: &Cell, metric: Metric, results: &Results) -> Option<Spread> {
    let reference = cell.reference.as_ref().filter(|reference| **reference != cell.name)?;
    Spread::of_ratios(&results.figures(&cell.name, metric), &results.figures(reference, metric))
}

fn range(spread: Spread) -> String {
    format!("{} ({}..{})", short(spread.median), short(spread.min), short(spread.max))
}

/// A figure for people: three digits are more than the noise leaves.
pub fn short(figure: f64) -> String {
    match figure {
        f if f >= 10_000.0 => format!("{:.1}k", f / 1000.0),
        f if f >= 100.0 => format!("{f:.0}"),
        f if f >= 10.0 => format!("{f:.1}"),
        f => format!("{f:.2}"),
    }
}

/// Prints why cells gave nothing.
pub fn print_missing(results: &Results) {
    for (cell, why) in results.missing() {
        println!("{cell}: {why}");
    }
}

/// Prints every cell as one JSON document.
pub fn print_json(cells: &[Cell], results: &Results) {
    let mut document = Map::new();
    for cell in cells {
        let mut figures = Map::new();
        for metric in results.metrics(&cell.name) {
            let name = serde_json::to_value(metric).unwrap_or_default();
            let value = json!({
                "rounds": results.figures(&cell.name, metric),
                "spread": spread(&cell.name, metric, results),
                "ratio": ratio(cell, metric, results),
            });
            figures.insert(name.as_str().unwrap_or_default().to_owned(), value);
        }
        let missing = results.missing().get(&cell.name);
        let value = json!({ "reference": cell.reference, "figures": figures, "missing": missing });
        document.insert(cell.name.clone(), value);
    }
    println!("{:#}", Value::Object(document));
}

/// Prints each target with its figure, and says with which code to exit: 0 when all are reached, 1 when one falls
/// short, else 2 when one was not measured.
pub fn print_targets(targets: &[Target], results: &Results) -> u8 {
    let (mut short_of, mut unmeasured) = (false, false);
    for target in targets {
        let (mark, figure) = match target.judge(results) {
            Verdict::Reached(spread) => ("ok      ", range(spread)),
            Verdict::Short(spread) => {
                short_of = true;
                ("SHORT   ", range(spread))
            }
            Verdict::Unmeasured => {
                unmeasured = true;
                ("NO DATA ", "not measured".to_owned())
            }
        };
        let bound = match target.bound {
            Bound::AtMost(bound) => format!("≤ {bound}"),
            Bound::AtLeast(bound) => format!("≥ {bound}"),
        };
        let unit = match &target.figure {
            Figure::Of(_, metric) | Figure::Worst(_, metric) => metric.title().to_owned(),
            Figure::Ratio { metric, .. } => format!("× ({})", metric.title()),
        };
        println!("{mark} {:58} {bound:8} {figure} {unit}", target.what);
    }
    print_missing(results);
    match (short_of, unmeasured) {
        (true, _) => 1,
        (false, true) => 2,
        (false, false) => 0,
    }
}
