//! A concurrency limit that finds itself.
//!
//! This is Envoy's gradient controller: while the latency is near what it is without a queue, the limit
//! grows; when calls take longer because they wait for one another, it shrinks in proportion. Netflix's
//! Gradient2, the other well-known one, compares with a long average instead, which creeps up under lasting
//! overload and takes the limit with it.
//!
//! Two things differ from Envoy, because plugins have few instances and their calls must not be lost:
//!
//! - To measure the latency without a queue, Envoy lets three calls through until fifty have ended, and sheds
//!   the rest. Here the limit is lowered for two short windows, to 0.7 of what the server does at once if the
//!   limit has settled. If it has not, the next measurement is so much nearer. And whenever less than half of
//!   the limit is used anyway, nothing is lowered at all.
//! - Envoy compares medians, this compares geometric means, which a few slow calls among many fast ones move
//!   as little, and which need one addition a call. The logarithm is Mitchell's (1962).

mod window;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use self::window::{Sample, SampleWindow};
use super::clock::Moment;

/// How much longer than without a queue calls may take before the limit shrinks: Envoy's 25 %.
const BUFFER: f64 = 1.25;

/// The least and the most by which one window asks to change the limit (Envoy's).
const GRADIENT: std::ops::RangeInclusive<f64> = 0.5..=2.0;

/// Share of the change that is made at once (Netflix's smoothing): a window is a small sample.
const SMOOTHING: f64 = 0.2;

/// What a window in which calls were refused or timed out leaves of the limit (Netflix's).
const BACKOFF: f64 = 0.9;

/// Share of what the server seems to do at once that is let through to measure.
const PROBE_DEPTH: f64 = 0.7;

/// How often the latency without a queue is measured. Envoy does it once a minute because it costs more there.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Share by which that may be longer, so that hosts do not measure together: Envoy's 15 %.
const PROBE_JITTER: f64 = 0.15;

/// The bounds of a [`GradientLimit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GradientSettings {
    /// The limit never gets below it; zero counts as one.
    pub(crate) min: u32,
    /// The limit never gets above it.
    pub(crate) max: u32,
    /// Where it begins.
    pub(crate) initial: u32,
}

/// A limit on calls in flight that follows what the server can do at once.
///
/// Recording is one addition and two loads; about ten times a second some thread works out the limit anew
/// under a lock that nobody waits for.
#[derive(Debug)]
pub(crate) struct GradientLimit {
    settings: GradientSettings,
    limit: AtomicU32,
    window: SampleWindow,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Nanoseconds that calls take without a queue. `None` until measured.
    baseline: Option<f64>,
    /// The limit with its fraction, without which it could not grow by less than one.
    limit: f64,
    phase: Phase,
    /// Numbers between zero and one.
    random: fn() -> f64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Following the gradient until it is time to measure.
    Follow { probe_at: Moment },
    /// The limit is lowered, and calls that began before are still ending.
    Drain,
    /// What ends now began under the lowered limit.
    Measure,
}

impl Default for GradientSettings {
    /// Up to a thousand as Envoy has it, from twenty as Netflix begins.
    fn default() -> Self {
        Self { min: 1, max: 1_000, initial: 20 }
    }
}

impl GradientLimit {
    /// A limit that begins as the settings say.
    pub(crate) fn new(settings: GradientSettings) -> Self {
        Self::with_random(settings, fastrand::f64)
    }

    /// The same, with a source of numbers between zero and one for the jitter.
    pub(crate) fn with_random(settings: GradientSettings, random: fn() -> f64) -> Self {
        let limit = settings.clamp(f64::from(settings.initial));
        let inner = Inner { baseline: None, limit, phase: Phase::Measure, random };
        Self {
            settings,
            limit: AtomicU32::new(limit as u32),
            window: SampleWindow::new(),
            inner: Mutex::new(inner),
        }
    }

    /// The limit as of now.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// The latency without a queue as last measured.
    #[cfg(test)]
    fn baseline(&self) -> Option<Duration> {
        let inner = self.inner.lock().unwrap();
        inner.baseline.and_then(|nanos| Duration::try_from_secs_f64(nanos / 1e9).ok())
    }

    /// Takes a call that ended at `now` after `rtt`, with `in_flight` calls under way, itself included.
    /// `dropped` says that it was refused or timed out for too much load; its `rtt` does not count then. Gives
    /// the new limit when this call changed it.
    pub(crate) fn record(&self, rtt: Duration, in_flight: u32, dropped: bool, now: Moment) -> Option<u32> {
        self.window.add(rtt, in_flight, dropped);
        if !self.window.is_due(now) {
            return None;
        }
        let mut inner = self.inner.try_lock().ok()?;
        let needed = match inner.phase {
            // All that began under the old limit have ended then.
            Phase::Drain => u64::from(self.limit()).saturating_mul(2),
            Phase::Follow { .. } | Phase::Measure => 0,
        };
        let sample = self.window.close(needed, now)?;
        let limit = inner.next_limit(&self.settings, sample, now) as u32;
        let before = self.limit.swap(limit, Relaxed);
        (before != limit).then_some(limit)
    }
}

impl GradientSettings {
    fn clamp(&self, limit: f64) -> f64 {
        let min = f64::from(self.min.max(1));
        limit.clamp(min, f64::from(self.max).max(min))
    }
}

impl Inner {
    /// The limit to go by until the next sample.
    fn next_limit(&mut self, settings: &GradientSettings, sample: Sample, now: Moment) -> f64 {
        if sample.dropped {
            self.limit = settings.clamp(self.limit * BACKOFF);
        }
        let is_busy = f64::from(sample.peak_in_flight) >= self.limit / 2.0;
        match (self.phase, sample.nanos) {
            (Phase::Drain, _) => self.phase = Phase::Measure,
            (Phase::Measure, Some(nanos)) => {
                self.baseline = Some(nanos);
                self.follow(now);
            }
            // Nothing but refusals: nothing to learn from.
            (Phase::Measure | Phase::Follow { .. }, None) => {}
            (Phase::Follow { .. }, Some(nanos)) if !is_busy => {
                // As good as measured, and no reason to change a limit that nobody comes near.
                self.baseline = Some(nanos);
                self.follow(now);
            }
            (Phase::Follow { probe_at }, Some(nanos)) => {
                if !sample.dropped {
                    self.limit = settings.clamp(self.towards_gradient(nanos));
                }
                if now >= probe_at {
                    self.phase = Phase::Drain;
                }
            }
        }
        match self.phase {
            Phase::Follow { .. } => self.limit,
            Phase::Drain | Phase::Measure if self.baseline.is_none() => self.limit,
            Phase::Drain | Phase::Measure => settings.clamp(self.limit_to_measure()),
        }
    }

    fn towards_gradient(&self, nanos: f64) -> f64 {
        let baseline = self.baseline.unwrap_or(nanos);
        let gradient = (BUFFER * baseline / nanos).clamp(*GRADIENT.start(), *GRADIENT.end());
        // Room for a burst, and the urge to try for more: Envoy's square root.
        let target = self.limit * gradient + self.limit.sqrt();
        self.limit + SMOOTHING * (target - self.limit)
    }

    /// The limit settles where `limit = BUFFER × what the server does at once + √limit`.
    fn limit_to_measure(&self) -> f64 {
        PROBE_DEPTH * (self.limit - self.limit.sqrt()) / BUFFER
    }

    fn follow(&mut self, now: Moment) {
        let longer = 1.0 + PROBE_JITTER * (self.random)().clamp(0.0, 1.0);
        self.phase = Phase::Follow { probe_at: now + PROBE_INTERVAL.mul_f64(longer) };
    }
}

#[cfg(test)]
mod tests;
