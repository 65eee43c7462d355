//! The latency of an endpoint as one number that balancing can compare.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::{Moment, nanos};

/// One unit of the stamp is 2¹⁴ ns = 16.384 µs.
const UNIT_BITS: u32 = 14;

/// Stamps by which a thread may be behind another, 17 s. The stamp itself comes round after 19.5 h; an
/// endpoint that was idle for a multiple of that, to within this, looks as if it had not been idle at all.
const BEHIND: u32 = 1 << 20;

/// Share of the time constant after which the average is written again even if it hardly changed.
const REFRESH: f64 = 1.0 / 512.0;

/// Share of itself by which the average must change to be written before that: 16 times what the stored
/// number can tell apart, so that rounding takes little of a change.
const CHANGE: f64 = 1.0 / (1 << 19) as f64;

/// Below this, `x` stands for `1 − e^−x`: their difference is less than a millionth of the average.
const SMALL: f64 = 1.0 / 1024.0;

/// What an endpoint costs that is busy and has never answered, in nanoseconds: Finagle's figure, 39 hours.
/// So an endpoint that is new gets one call, and more only when that one has come back.
const PENALTY: f64 = (i64::MAX >> 16) as f64;

/// A moving average of round-trip times that follows a peak at once and forgets it slowly: Finagle's
/// `PeakEwma`, which tower and linkerd use.
///
/// A sample above the average replaces it; one below pulls it down with the weight `1 − e^(−t/τ)` after a time
/// `t`. Without samples it decays to nothing, so that an endpoint that was bad is tried again some day.
#[derive(Debug)]
pub(crate) struct PeakEwma {
    /// The average in nanoseconds (the bits of an `f32`), and the stamp of its last change. Zero: never
    /// measured.
    word: AtomicU64,
    /// Time constants per unit of the stamp.
    rate: f64,
}

impl PeakEwma {
    /// The time constant of Finagle and linkerd: after it 37 % of a peak are left.
    pub(crate) const DEFAULT_DECAY: Duration = Duration::from_secs(10);

    /// An average that nothing has been measured for, with the given time constant.
    pub(crate) fn new(decay: Duration) -> Self {
        let units = nanos(decay).max(1) as f64 / f64::from(1u32 << UNIT_BITS);
        Self { word: AtomicU64::new(0), rate: 1.0 / units }
    }

    /// Takes the round-trip time of a call that ended at `now`. A failed call is better recorded as a long
    /// one, or failures that come fast attract traffic.
    pub(crate) fn record(&self, rtt: Duration, now: Moment) {
        // Not zero, which means never measured.
        let rtt = (nanos(rtt) as f64).max(1.0);
        let stamp = stamp(now);
        let mut word = self.word.load(Relaxed);
        loop {
            let (value, then) = unpack(word);
            let time_constants = f64::from(elapsed(then, stamp)) * self.rate;
            let lost = lost_after(time_constants);
            let next =
                if word == 0 || rtt >= value * (1.0 - lost) { rtt } else { value - (value - rtt) * lost };
            // Samples within a unit have no weight, and a change may be too small for the number to hold it.
            // The stamp stays then, so that the time adds up and a later sample has the weight of all.
            if (next - value).abs() < value * CHANGE && time_constants < REFRESH {
                return;
            }
            // A thread that is late does not turn back the clock.
            let stamp = if word != 0 && elapsed(then, stamp) == 0 { then } else { stamp };
            match self.word.compare_exchange_weak(word, pack(next, stamp), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(changed) => word = changed,
            }
        }
    }

    /// What one more call would cost, to be compared with that of another endpoint: the average times the
    /// calls that would then be pending. Zero when never measured and idle, so that it is tried at once; very
    /// much when never measured and busy.
    pub(crate) fn cost(&self, pending: u32, now: Moment) -> f64 {
        let word = self.word.load(Relaxed);
        if word == 0 {
            return if pending == 0 { 0.0 } else { PENALTY + f64::from(pending) };
        }
        self.decayed(word, now) * (f64::from(pending) + 1.0)
    }

    /// The average as of now, for people; `None` when never measured.
    pub(crate) fn value(&self, now: Moment) -> Option<Duration> {
        let word = self.word.load(Relaxed);
        (word != 0).then(|| Duration::from_nanos(self.decayed(word, now) as u64))
    }

    fn decayed(&self, word: u64, now: Moment) -> f64 {
        let (value, then) = unpack(word);
        value * (1.0 - lost_after(f64::from(elapsed(then, stamp(now))) * self.rate))
    }
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self::new(Self::DEFAULT_DECAY)
    }
}

/// Truncated, never rounded relative to another: differences of stamps add up to the time that passed.
fn stamp(moment: Moment) -> u32 {
    (moment.as_nanos() >> UNIT_BITS) as u32
}

fn elapsed(then: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(then);
    if elapsed > u32::MAX - BEHIND { 0 } else { elapsed }
}

/// The share that is lost after that many time constants, `1 − e^−x`.
fn lost_after(time_constants: f64) -> f64 {
    if time_constants < SMALL { time_constants } else { -(-time_constants).exp_m1() }
}

fn pack(value: f64, stamp: u32) -> u64 {
    u64::from((value as f32).to_bits()) << 32 | u64::from(stamp)
}

fn unpack(word: u64) -> (f64, u32) {
    (f64::from(f32::from_bits((word >> 32) as u32)), word as u32)
}

#[cfg(test)]
mod tests;
