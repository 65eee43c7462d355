//! The circuit breaker of one endpoint.
//!
//! The rules are those of linkerd's proxy (consecutive failures; since 2026 also the success rate over exact
//! buckets), because they are sound for one to three instances, where Envoy's and gRPC's (proposal A50)
//! comparisons among hosts need at least five. What the breakers of other plugin hosts do wrong is ruled out
//! here: failures expire, so no number of calls adds them up; the minimum of requests is honoured; and a
//! breaker never stays half-open for ever, whatever becomes of its probes.
//!
//! ```text
//!            a rule is broken            the pause is over, one call is let through
//!   closed ───────────────────► open ─────────────────────────────────────► half-open
//!      ▲                          ▲             a probe fails                 │   │
//!      │                          └───────────────────────────────────────────┘   │
//!      └──────────────────────────────────────────────────────────────────────────┘
//!                             enough probes in a row succeed
//! ```

mod gate;
mod inner;
mod settings;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::gate::Gate;
pub(crate) use self::gate::State;
use self::inner::Inner;
pub(crate) use self::settings::{BreakerSettings, ConsecutiveRule, RateRule};
use super::clock::Moment;
use super::sharded::Padded;
use super::window::{Counts, Window};

/// What a call says about the endpoint that served it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The endpoint did its work, also when the answer is an error of the application.
    Success,
    /// The endpoint failed.
    Failure,
    /// The endpoint refused because it has too much to do. Counts in the rate only and fails a probe; a
    /// streak of failures is neither lengthened nor broken by it.
    Overload,
    /// Nothing: the caller went away, say.
    Neutral,
}

/// A change of the breaker, told once, to the caller whose call made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// From closed to open: an ejection.
    Opened {
        /// The rule that was broken.
        rule: Rule,
        /// When the first probe may go out.
        until: Moment,
    },
    /// From half-open back to open: a probe failed.
    Reopened {
        /// When the next probe may go out.
        until: Moment,
    },
    /// From half-open to closed: the endpoint is trusted again.
    Closed,
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// [`ConsecutiveRule`].
    Consecutive,
    /// [`RateRule`].
    Rate,
}

/// Decides whether an endpoint is to be trusted, from the verdicts of its calls.
///
/// A success while it is closed costs one compare-and-swap and two loads; failures and changes take a lock
/// for a moment.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    /// A copy of the state for readers; changed only under the lock of `inner`.
    gate: Gate,
    /// Whether a success has a streak to break, so that most need no lock.
    has_streak: AtomicBool,
    /// Written by every call, so apart from what every pick reads.
    window: Padded<Window>,
    inner: Mutex<Inner>,
}

/// The right to send one real call through a breaker that is not closed, to see how it fares.
///
/// Give it to [`Breaker::record`] with the verdict of that call. Dropped before, it says nothing, and the next
/// caller may probe at once. When it is out for longer than [`BreakerSettings::PROBE_LEASE`] another probe may
/// be given, and the verdict of this one is ignored; if its call was [answered](Probe::answered) by then, it
/// counts as a success, because a stream may have no end.
#[must_use = "dropping a probe gives it back"]
#[derive(Debug)]
pub(crate) struct Probe {
    breaker: Arc<Breaker>,
    /// Which of the probes of this breaker it is.
    generation: u64,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new(settings: BreakerSettings) -> Arc<Self> {
        Self::with_random(settings, fastrand::f64)
    }

    /// The same, with a source of numbers between zero and one for the jitter.
    pub(crate) fn with_random(settings: BreakerSettings, random: fn() -> f64) -> Arc<Self> {
        Arc::new(Self {
            settings,
            gate: Gate::closed(),
            has_streak: AtomicBool::new(false),
            window: Padded(Window::new()),
            inner: Mutex::new(Inner::new(random)),
        })
    }

    /// The state as of now; another thread may change it at any time. One load.
    pub(crate) fn state(&self) -> State {
        self.gate.state()
    }

    /// Whether calls may pass without a probe. One load.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// When a probe may be had: the end of the pause, or of the lease of a probe that is out. `None` when
    /// closed. A moment in the past means at once.
    pub(crate) fn next_probe_at(&self) -> Option<Moment> {
        self.gate.next_probe_at()
    }

    /// The calls of the last seconds and how many failed.
    #[cfg(test)]
    fn counts(&self, now: Moment) -> Counts {
        self.window.0.totals(now)
    }

    /// The right to probe, when it is due and nobody else has it. One load otherwise.
    pub(crate) fn try_probe(self: &Arc<Self>, now: Moment) -> Option<Probe> {
        if self.gate.next_probe_at().is_none_or(|due| now < due) {
            return None;
        }
        let generation = self.inner().take_probe(now, &self.gate)?;
        Some(Probe { breaker: Arc::clone(self), generation })
    }

    /// Takes the verdict of a call that ended. Says what changed, to the one caller who changed it.
    ///
    /// Without a probe, a verdict counts only while the breaker is closed: a call that began before it opened,
    /// or that went through because nothing better was there, changes nothing. With a probe, the verdict goes
    /// to the breaker that gave it.
    pub(crate) fn record(&self, verdict: Verdict, probe: Option<Probe>, now: Moment) -> Option<Transition> {
        match probe {
            Some(probe) => probe.breaker.record_probe(verdict, probe.generation, now),
            None => self.record_call(verdict, now),
        }
    }

    fn record_call(&self, verdict: Verdict, now: Moment) -> Option<Transition> {
        if !self.gate.is_closed() {
            return None;
        }
        match verdict {
            Verdict::Neutral => None,
            Verdict::Success => {
                self.window.0.add(now, Counts::PLAIN);
                if self.has_streak.load(Relaxed) {
                    let mut inner = self.inner();
                    inner.streak.clear();
                    self.has_streak.store(false, Relaxed);
                }
                None
            }
            Verdict::Failure | Verdict::Overload => {
                self.window.0.add(now, Counts::MARKED);
                let mut inner = self.inner();
                // Another thread may have opened it meanwhile.
                if !self.gate.is_closed() {
                    return None;
                }
                let rule = self.broken_rule(&mut inner, verdict, now)?;
                let until = inner.open(&self.settings, now, &self.gate);
                self.has_streak.store(false, Relaxed);
                Some(Transition::Opened { rule, until })
            }
        }
    }

    /// Notes a bad verdict; the rule that it breaks, if any.
    fn broken_rule(&self, inner: &mut Inner, verdict: Verdict, now: Moment) -> Option<Rule> {
        if let Some(rule) = &self.settings.consecutive
            && verdict == Verdict::Failure
        {
            self.has_streak.store(true, Relaxed);
            if inner.lengthen_streak(rule, now) {
                return Some(Rule::Consecutive);
            }
        }
        let rate = self.settings.rate.as_ref()?;
        rate.is_broken_by(self.window.0.totals(now)).then_some(Rule::Rate)
    }

    fn record_probe(&self, verdict: Verdict, generation: u64, now: Moment) -> Option<Transition> {
        let mut inner = self.inner();
        if !inner.end_probe(generation, &self.gate) {
            return None;
        }
        match verdict {
            Verdict::Neutral => None,
            Verdict::Failure | Verdict::Overload => {
                Some(Transition::Reopened { until: inner.open(&self.settings, now, &self.gate) })
            }
            Verdict::Success => {
                if !inner.probe_succeeded(&self.settings) {
                    return None;
                }
                Some(self.close(&mut inner, now))
            }
        }
    }

    fn close(&self, inner: &mut Inner, now: Moment) -> Transition {
        // What was counted before it opened must not open it again.
        self.window.0.clear();
        self.has_streak.store(false, Relaxed);
        inner.close(now, &self.gate);
        Transition::Closed
    }

    /// Nothing that is done under the lock can panic half-way, so a poisoned one is as good as any.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Notes that the call was answered and goes on: the head of its response arrived, without a status. That
    /// is no verdict yet, but when the lease ends before the call does, it is a success. Says so if the
    /// breaker closes, which it does when enough calls have lasted that long before this one.
    pub(crate) fn answered(&self, now: Moment) -> Option<Transition> {
        let breaker = &*self.breaker;
        let mut inner = breaker.inner();
        let proven = inner.probe_answered(self.generation, &breaker.settings);
        proven.then(|| breaker.close(&mut inner, now))
    }
}

impl Drop for Probe {
    /// Gives the place back. After a verdict it is another generation, or none, and this does nothing.
    fn drop(&mut self) {
        self.breaker.inner().end_probe(self.generation, &self.breaker.gate);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
