//! What the calls of a tenth of a second took.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::resilience::clock::{Moment, nanos};

/// How long a sample is collected at least: Envoy's.
const WINDOW: Duration = Duration::from_millis(100);

/// Calls in a sample at least: Envoy's.
const MIN_CALLS: u64 = 50;

/// Bits for the number of calls in a sample; the rest hold the sum of their logarithms.
const COUNT_BITS: u32 = 24;

/// Bits of a logarithm after the point.
const FRACTION_BITS: u32 = 10;

/// Collects a sample from many threads.
#[derive(Debug)]
pub(super) struct SampleWindow {
    /// The calls and the sum of the logarithms of their durations, in one word so that they belong together.
    calls: AtomicU64,
    peak_in_flight: AtomicU32,
    has_dropped: AtomicBool,
    /// When there may be enough.
    due_at: AtomicU64,
}

/// A sample, closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// The geometric mean of how long the calls took; `None` when there were only refused ones.
    pub(super) nanos: Option<f64>,
    /// The most calls that were under way.
    pub(super) peak_in_flight: u32,
    /// Whether any was refused or timed out.
    pub(super) dropped: bool,
}

impl SampleWindow {
    pub(super) fn new() -> Self {
        Self {
            calls: AtomicU64::new(0),
            peak_in_flight: AtomicU32::new(0),
            has_dropped: AtomicBool::new(false),
            due_at: AtomicU64::new(nanos(WINDOW)),
        }
    }

    pub(super) fn add(&self, rtt: Duration, in_flight: u32, dropped: bool) {
        if dropped {
            self.has_dropped.store(true, Relaxed);
        } else {
            self.calls.fetch_add(logarithm(nanos(rtt)) << COUNT_BITS | 1, Relaxed);
        }
        if in_flight > self.peak_in_flight.load(Relaxed) {
            self.peak_in_flight.fetch_max(in_flight, Relaxed);
        }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        now.as_nanos() >= self.due_at.load(Relaxed)
    }

    /// Ends the sample if it has enough calls, at least `needed`. For one thread at a time.
    pub(super) fn close(&self, needed: u64, now: Moment) -> Option<Sample> {
        let dropped = self.has_dropped.load(Relaxed);
        let count = self.calls.load(Relaxed) & ((1 << COUNT_BITS) - 1);
        // Refusals are worth acting on at once, however few calls went well beside them.
        if !self.is_due(now) || (count < needed.max(MIN_CALLS) && !dropped) {
            return None;
        }
        self.due_at.store((now + WINDOW).as_nanos(), Relaxed);
        let calls = self.calls.swap(0, Relaxed);
        self.has_dropped.store(false, Relaxed);
        let peak_in_flight = self.peak_in_flight.swap(0, Relaxed);
        let (sum, count) = (calls >> COUNT_BITS, calls & ((1 << COUNT_BITS) - 1));
        let nanos = (count >= MIN_CALLS).then(|| power(sum as f64 / count as f64));
        Some(Sample { nanos, peak_in_flight, dropped })
    }
}

/// Mitchell's logarithm to the base of two, times 2¹⁰: exact at powers of two, and a straight line between.
fn logarithm(nanos: u64) -> u64 {
    let nanos = nanos.max(1);
    let whole = nanos.ilog2();
    // The bits after the highest one.
    let rest = nanos - (1 << whole);
    let fraction = if whole >= FRACTION_BITS {
        rest >> (whole - FRACTION_BITS)
    } else {
        rest << (FRACTION_BITS - whole)
    };
    u64::from(whole) << FRACTION_BITS | fraction
}

/// The inverse of [`logarithm`].
fn power(logarithm: f64) -> f64 {
    let exponent = logarithm / f64::from(1u32 << FRACTION_BITS);
    exponent.floor().exp2() * (1.0 + exponent.fract())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_sample_needs_time_and_calls() {
        let window = SampleWindow::new();
        (0..49).for_each(|_| window.add(Duration::from_millis(8), 7, false));
        assert_eq!(window.close(0, at(100)), None);
        window.add(Duration::from_millis(8), 3, false);
        assert!(!window.is_due(at(99)));
        assert_eq!(window.close(0, at(99)), None);
        assert_eq!(window.close(51, at(100)), None);
        let sample = window.close(0, at(100)).unwrap();
        assert!((sample.nanos.unwrap() / 8e6 - 1.0).abs() < 1e-3, "{sample:?}");
        assert_eq!((sample.peak_in_flight, sample.dropped), (7, false));
        assert_eq!(window.close(0, at(200)), None);
        window.add(Duration::ZERO, 9, true);
        let refused = Sample { nanos: None, peak_in_flight: 9, dropped: true };
        assert_eq!(window.close(0, at(200)), Some(refused));
    }

    #[test]
    fn few_slow_calls_move_it_little() {
        let window = SampleWindow::new();
        (0..1_000)
            .for_each(|n| window.add(Duration::from_millis(if n % 50 == 0 { 400 } else { 1 }), 1, false));
        let mean = window.close(0, at(100)).unwrap().nanos.unwrap();
        assert!(mean < 1.2e6, "{mean}");
    }

    proptest! {
        #[test]
        fn the_logarithm_grows_and_has_an_inverse(nanos in 1u64..1 << 50, more in 0u64..1 << 50) {
            prop_assert!(logarithm(nanos) <= logarithm(nanos + more));
            let again = power(logarithm(nanos) as f64) / nanos as f64;
            prop_assert!((0.998..=1.0).contains(&again), "{again}");
        }
    }
}
