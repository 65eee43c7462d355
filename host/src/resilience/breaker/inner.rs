//! What a breaker changes under its lock.

use std::collections::VecDeque;
use std::time::Duration;

use super::gate::{Gate, State};
use super::settings::{BreakerSettings, ConsecutiveRule};
use crate::resilience::clock::Moment;

/// The truth about the state is in the gate, which changes only under the lock that guards this.
#[derive(Clone, Debug)]
pub(super) struct Inner {
    /// The failures in a row, oldest first; never more than the threshold. Empty unless closed.
    pub(super) streak: VecDeque<Moment>,
    /// Probes that succeeded in a row, while half-open.
    pub(super) successes: u32,
    /// The probe that is out.
    pub(super) probe: Option<Outstanding>,
    /// The number of the next probe.
    pub(super) next_generation: u64,
    /// Openings since the last healthy stretch.
    pub(super) openings: u32,
    /// How long the last opening was.
    pub(super) last_open: Duration,
    /// When it last closed.
    pub(super) closed_at: Moment,
    /// Numbers between zero and one.
    random: fn() -> f64,
}

/// A probe that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outstanding {
    /// Never used twice.
    pub(super) generation: u64,
    /// Whether its call has been answered and goes on.
    pub(super) is_answered: bool,
}

impl Inner {
    pub(super) fn new(random: fn() -> f64) -> Self {
        Self {
            streak: VecDeque::new(),
            successes: 0,
            probe: None,
            next_generation: 0,
            openings: 0,
            last_open: Duration::ZERO,
            closed_at: Moment::default(),
            random,
        }
    }

    /// Adds a failure. Whether there are now enough, all within their expiry.
    pub(super) fn lengthen_streak(&mut self, rule: &ConsecutiveRule, now: Moment) -> bool {
        let enough = rule.failure_threshold.max(1) as usize;
        while self.streak.front().is_some_and(|oldest| now.since(*oldest) >= rule.expiry) {
            self.streak.pop_front();
        }
        self.streak.push_back(now);
        self.streak.len() >= enough
    }

    /// Opens, from closed or half-open; gives the end.
    ///
    /// Trust comes back as slowly as it went: earlier openings are forgotten only when it was closed at
    /// least as long as it had last been open. An endpoint that flaps is so kept out longer and longer, and
    /// one that failed once long ago is not held to account for it.
    pub(super) fn open(&mut self, settings: &BreakerSettings, now: Moment, gate: &Gate) -> Moment {
        let healthy = self.last_open.max(BreakerSettings::MIN_HEALTHY);
        if gate.is_closed() && now.since(self.closed_at) >= healthy {
            self.openings = 0;
        }
        self.last_open = settings.open_for(self.openings, (self.random)());
        self.openings = self.openings.saturating_add(1);
        self.streak.clear();
        self.probe = None;
        gate.open(now + self.last_open)
    }

    /// Gives the number of a new probe. Whoever gets here has
    /// seen that one is due, but perhaps others have too.
    pub(super) fn take_probe(&mut self, now: Moment, gate: &Gate) -> Option<u64> {
        if gate.next_probe_at().is_none_or(|due| now < due) {
            return None;
        }
        let is_first = matches!(gate.state(), State::Open { .. });
        match self.probe {
            // It has gone well for the whole lease.
            Some(Outstanding { is_answered: true, .. }) => self.successes = self.successes.saturating_add(1),
            // One that hangs breaks the row.
            Some(Outstanding { is_answered: false, .. }) => self.successes = 0,
            None if is_first => self.successes = 0,
            None => {}
        }
        let generation = self.next_generation;
        self.next_generation += 1;
        self.probe = Some(Outstanding { generation, is_answered: false });
        gate.half_open(now + BreakerSettings::PROBE_LEASE);
        Some(generation)
    }

    /// Takes a probe back, so that the next caller may have one at once. Whether it still counted.
    pub(super) fn end_probe(&mut self, generation: u64, gate: &Gate) -> bool {
        let counts = self.is_out(generation);
        if counts {
            self.probe = None;
            gate.half_open(Moment::default());
        }
        counts
    }

    /// Notes that the call of a probe was answered and goes on. Whether enough went well before it.
    pub(super) fn probe_answered(&mut self, generation: u64, settings: &BreakerSettings) -> bool {
        if !self.is_out(generation) {
            return false;
        }
        self.probe = Some(Outstanding { generation, is_answered: true });
        self.is_proven(settings)
    }

    /// Counts a probe that went well. Whether there are now enough.
    pub(super) fn probe_succeeded(&mut self, settings: &BreakerSettings) -> bool {
        self.successes = self.successes.saturating_add(1);
        self.is_proven(settings)
    }

    fn is_out(&self, generation: u64) -> bool {
        self.probe.is_some_and(|probe| probe.generation == generation)
    }

    fn is_proven(&self, settings: &BreakerSettings) -> bool {
        self.successes >= settings.success_threshold.max(1)
    }

    pub(super) fn close(&mut self, now: Moment, gate: &Gate) {
        self.streak.clear();
        self.probe = None;
        self.closed_at = now;
        gate.close();
    }
}
