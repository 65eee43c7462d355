//! What must be reached.

use crate::cell::{Metric, Results};
use crate::stats::Spread;

/// A figure with its bound.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is about, for people.
    pub what: String,
    /// The figure.
    pub figure: Figure,
    /// The bound.
    pub bound: Bound,
}

/// Where a figure comes from.
#[derive(Clone, Debug)]
pub enum Figure {
    /// A metric of a cell itself: the median over the rounds.
    Of(String, Metric),
    /// A metric of a cell itself: the largest of all rounds, for what must never happen.
    Worst(String, Metric),
    /// The median, over the rounds, of the ratio of one cell's metric to another's.
    Ratio {
        /// The cell.
        cell: String,
        /// The cell it is compared with.
        reference: String,
        /// What is compared.
        metric: Metric,
    },
}

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Reached.
    Reached(Spread),
    /// Measured, and short of the bound.
    Short(Spread),
    /// Not measured.
    Unmeasured,
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }
}

impl Target {
    /// Names of the cells that it needs.
    pub fn cells(&self) -> Vec<&str> {
        match &self.figure {
            Figure::Of(cell, _) | Figure::Worst(cell, _) => vec![cell],
            Figure::Ratio { cell, reference, .. } => vec![cell, reference],
        }
    }

    /// Compares what was measured with the bound.
    pub fn judge(&self, results: &Results) -> Verdict {
        let spread = match &self.figure {
            Figure::Of(cell, metric) | Figure::Worst(cell, metric) => {
                Spread::of(results.figures(cell, *metric).into_iter().flatten().collect())
            }
            Figure::Ratio { cell, reference, metric } => {
                Spread::of_ratios(&results.figures(cell, *metric), &results.figures(reference, *metric))
            }
        };
        let Some(spread) = spread else {
            return Verdict::Unmeasured;
        };
        let figure = match &self.figure {
            Figure::Worst(..) => spread.max,
            Figure::Of(..) | Figure::Ratio { .. } => spread.median,
        };
        match self.bound.holds(figure) {
            true => Verdict::Reached(spread),
            false => Verdict::Short(spread),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use super::*;
    use crate::args::Span;
    use crate::cell::{Cell, Sample};

    #[test]
    fn what_must_never_happen_is_judged_by_the_worst_round() {
        let rounds = Counter::new(0.0);
        let cell = Cell {
            name: "cell".to_owned(),
            reference: None,
            run: Box::new(move |_| {
                Ok(Sample::from([(Metric::LostIdempotent, rounds.replace(rounds.get() + 1.0))]))
            }),
        };
        let span = Span { warm_up: Default::default(), measured: Default::default() };
        let results = Results::measure(&[cell], 3, span);
        let target = |figure, bound| Target { what: String::new(), figure, bound: Bound::AtMost(bound) };
        let of = |figure: fn(String, Metric) -> Figure| figure("cell".to_owned(), Metric::LostIdempotent);
        assert!(matches!(target(of(Figure::Of), 1.0).judge(&results), Verdict::Reached(_)));
        assert!(matches!(target(of(Figure::Worst), 1.0).judge(&results), Verdict::Short(_)));
        assert!(matches!(target(of(Figure::Worst), 2.0).judge(&results), Verdict::Reached(_)));
        let other = Figure::Worst("other".to_owned(), Metric::LostIdempotent);
        assert_eq!(target(other, 2.0).judge(&results), Verdict::Unmeasured);
    }
}
