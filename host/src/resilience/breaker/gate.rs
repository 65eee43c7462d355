//! The state of a breaker in one word, for readers that take no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::resilience::clock::Moment;

/// The lowest bits hold the state, the rest the moment of the next probe in units of four nanoseconds.
const STATE_BITS: u32 = 2;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Calls pass.
    Closed,
    /// No calls pass.
    Open {
        /// When the first probe may go out. It stays open until somebody asks for one.
        until: Moment,
    },
    /// One call at a time passes, as a probe.
    HalfOpen,
}

/// [`State`] and the moment of the next probe, always of the same change.
#[derive(Debug)]
pub(super) struct Gate(AtomicU64);

impl Gate {
    pub(super) fn closed() -> Self {
        Self(AtomicU64::new(CLOSED))
    }

    /// A copy, for a test that goes on in two ways.
    #[cfg(test)]
    pub(super) fn fork(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Relaxed) == CLOSED
    }

    pub(super) fn state(&self) -> State {
        let word = self.0.load(Relaxed);
        match word & ((1 << STATE_BITS) - 1) {
            CLOSED => State::Closed,
            OPEN => State::Open { until: due(word) },
            _ => State::HalfOpen,
        }
    }

    pub(super) fn next_probe_at(&self) -> Option<Moment> {
        let word = self.0.load(Relaxed);
        (word != CLOSED).then(|| due(word))
    }

    pub(super) fn close(&self) {
        self.0.store(CLOSED, Relaxed);
    }

    /// Opens; gives the moment as readers will see it.
    pub(super) fn open(&self, until: Moment) -> Moment {
        let word = word(OPEN, until);
        self.0.store(word, Relaxed);
        due(word)
    }

    pub(super) fn half_open(&self, next_probe: Moment) {
        self.0.store(word(HALF_OPEN, next_probe), Relaxed);
    }
}

/// Rounds up: a probe is never early.
fn word(state: u64, due: Moment) -> u64 {
    let units = due.as_nanos().div_ceil(1 << STATE_BITS).min(u64::MAX >> STATE_BITS);
    units << STATE_BITS | state
}

fn due(word: u64) -> Moment {
    Moment::from_nanos(word & !((1 << STATE_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_state_and_moment() {
        let gate = Gate::closed();
        assert_eq!((gate.state(), gate.next_probe_at()), (State::Closed, None));
        let until = gate.open(Moment::from_nanos(1_001));
        assert_eq!(until, Moment::from_nanos(1_004));
        assert_eq!((gate.state(), gate.next_probe_at()), (State::Open { until }, Some(until)));
        gate.half_open(Moment::default());
        assert_eq!((gate.state(), gate.next_probe_at()), (State::HalfOpen, Some(Moment::default())));
        gate.open(Moment::MAX);
        assert!(matches!(gate.state(), State::Open { until } if until.as_nanos() > u64::MAX - 4));
        gate.close();
        assert!(gate.is_closed());
    }
}
