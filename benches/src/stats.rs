//! Figures over the rounds of a run.

use serde::Serialize;

/// What the rounds gave for one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `values`, of which there must be one at least.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (below, above) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: (below + above) / 2.0, min, max })
    }

    /// Of the ratios of each round: rounds in which either is missing do not count.
    pub fn of_ratios(values: &[Option<f64>], references: &[Option<f64>]) -> Option<Self> {
        let pairs = values.iter().zip(references);
        Self::of(pairs.filter_map(|(value, reference)| Some((*value)? / (*reference)?)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn ratios_are_paired_by_round() {
        let ratios = Spread::of_ratios(&[Some(1.0), None, Some(6.0)], &[Some(2.0), Some(1.0), Some(2.0)]);
        assert_eq!(ratios, Some(Spread { median: 1.75, min: 0.5, max: 3.0 }));
    }
}
