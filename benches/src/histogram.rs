//! Latencies, counted in buckets.

/// Buckets of one power of two: a figure is off by 1 in 64 at most.
const SUB: u32 = 64;
const SUB_BITS: u32 = SUB.trailing_zeros();
/// Enough for every 64-bit number of nanoseconds.
const BUCKETS: usize = ((64 - SUB_BITS + 1) * SUB) as usize;

/// Counts of latencies in nanoseconds, in buckets that grow with the value.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, nanos: u64) {
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency in nanoseconds that a share `quantile` (0 to 1) of all does not exceed; 0 when there are none.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(index);
            }
        }
        0.0
    }
}

fn bucket(value: u64) -> usize {
    let shift = (64 - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    let sub = value >> shift;
    (u64::from(shift * SUB) + sub) as usize
}

fn middle(index: usize) -> f64 {
    let index = index as u64;
    let sub = u64::from(SUB);
    let shift = (index / sub).saturating_sub(1);
    let low = (index - shift * sub) << shift;
    low as f64 + ((1u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_again_within_one_in_64() {
        for value in (0..60).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + (1 << bit) / 3]) {
            let mut histogram = Histogram::default();
            histogram.record(value);
            let found = histogram.quantile(0.5);
            assert!((found - value as f64).abs() <= value as f64 / 64.0, "{value} became {found}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        for (quantile, value) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            assert!((histogram.quantile(quantile) / value - 1.0f64).abs() < 1.0 / 64.0);
        }
    }
}
