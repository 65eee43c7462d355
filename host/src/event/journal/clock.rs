//! When events were recorded, and how old they are, whatever somebody does to the clock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970.
pub(super) type Micros = u64;

/// How far ahead the wall clock has to come before that is remembered as a step of its own. Ages are wrong by no more.
const STEP: Micros = 1_000_000;

/// Steps that are remembered. Events from before the oldest count as younger than they are, so they are kept longer.
const MAX_STEPS: usize = 64;

/// What the clocks of the machine say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// The one that people set.
    pub(super) wall: Micros,
    /// The one that only ticks, in microseconds from any start.
    pub(super) ticks: Micros,
}

/// Where the time comes from.
#[derive(Clone)]
pub(super) struct TimeSource(Arc<dyn Fn() -> Reading + Send + Sync>);

impl TimeSource {
    pub(super) fn new(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl Default for TimeSource {
    fn default() -> Self {
        let start = Instant::now();
        Self::new(move || Reading { wall: micros(SystemTime::now()), ticks: whole_micros(start.elapsed()) })
    }
}

impl fmt::Debug for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeSource")
    }
}

/// The clock of a journal for as long as it is open.
///
/// Recorded times follow the wall clock when it goes on or is set forward, and tick on by themselves when it is set back. Ages
/// follow the ticks alone.
#[derive(Debug)]
pub(super) struct Clock {
    source: TimeSource,
    start: Reading,
    /// How far recorded times are ahead of the ticks by now.
    ahead: Micros,
    /// How far they were, for the events from a place on.
    steps: VecDeque<(u64, Micros)>,
}

impl Clock {
    /// Starts it for a journal whose newest event is of `newest`, and whose next one gets `next_place`.
    pub(super) fn start(source: TimeSource, newest: Micros, next_place: u64) -> Self {
        let start = (source.0)();
        let ahead = newest.saturating_sub(start.wall);
        Self { source, start, ahead, steps: [(next_place, ahead)].into() }
    }

    /// The present as ages count it.
    fn present(&self, reading: Reading) -> Micros {
        self.start.wall.saturating_add(reading.ticks.saturating_sub(self.start.ticks))
    }

    /// The time for events that are recorded now, from `place` on: never less than any before.
    pub(super) fn stamp(&mut self, place: u64) -> Micros {
        let reading = (self.source.0)();
        let present = self.present(reading);
        self.ahead = self.ahead.max(reading.wall.saturating_sub(present));
        if self.steps.back().is_none_or(|(_, ahead)| self.ahead >= ahead.saturating_add(STEP)) {
            self.steps.push_back((place, self.ahead));
            if self.steps.len() > MAX_STEPS {
                self.steps.pop_front();
            }
        }
        present.saturating_add(self.ahead)
    }

    /// How old an event is.
    pub(super) fn age(&self, place: u64, recorded: Micros) -> Duration {
        let known = self.steps.iter().rev().find(|(from, _)| *from <= place);
        let ahead = known.map_or(0, |(_, ahead)| *ahead);
        let present = self.present((self.source.0)());
        Duration::from_micros(present.saturating_sub(recorded.saturating_sub(ahead)))
    }

    /// What the wall clock says, for what is only shown.
    pub(super) fn wall(&self) -> Micros {
        (self.source.0)().wall
    }
}

/// At most what the database can hold.
fn whole_micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(i64::MAX as u64)
}

/// A time as a number; what was before 1970 counts as 1970.
pub(super) fn micros(time: SystemTime) -> Micros {
    whole_micros(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A number as a time. One that the system cannot represent counts as 1970.
pub(super) fn time(micros: Micros) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const SECOND: Micros = 1_000_000;
    const YEAR: Micros = 365 * 86_400 * SECOND;

    fn clock(newest: Micros) -> (Clock, impl Fn(i64, u64)) {
        let now = Arc::new(Mutex::new(Reading { wall: 50 * YEAR, ticks: 77 }));
        let source = TimeSource::new({
            let now = now.clone();
            move || *now.lock().unwrap()
        });
        // Moves the wall clock by the first, and the ticks by the second.
        let pass = move |wall: i64, ticks: u64| {
            let mut now = now.lock().unwrap();
            now.wall = now.wall.saturating_add_signed(wall);
            now.ticks += ticks;
        };
        (Clock::start(source, newest, 100), pass)
    }

    #[test]
    fn a_clock_set_forward_makes_nothing_old() {
        let (mut clock, pass) = clock(0);
        let first = clock.stamp(100);
        assert_eq!(first, 50 * YEAR);
        pass((YEAR + SECOND) as i64, SECOND);
        let second = clock.stamp(101);
        assert_eq!(second, 51 * YEAR + SECOND, "recorded as the clock says");
        assert_eq!(clock.age(100, first), Duration::from_secs(1));
        assert_eq!(clock.age(101, second), Duration::ZERO);
        pass(10 * SECOND as i64, 10 * SECOND);
        assert_eq!(clock.age(101, second), Duration::from_secs(10), "they still grow old");
    }

    #[test]
    fn a_clock_set_back_takes_no_event_back() {
        let (mut clock, pass) = clock(0);
        let mut last = (100, clock.stamp(100));
        for place in 101..200 {
            pass(-(SECOND as i64), 2 * SECOND);
            let recorded = clock.stamp(place);
            assert!(recorded >= last.1);
            assert_eq!(clock.age(last.0, last.1), Duration::from_secs(2), "neither younger nor older");
            last = (place, recorded);
        }
    }

    #[test]
    fn a_journal_from_the_future_goes_on_from_there() {
        let (mut clock, pass) = clock(53 * YEAR);
        assert_eq!(clock.age(99, 53 * YEAR), Duration::ZERO);
        assert_eq!(
            clock.age(98, 49 * YEAR),
            Duration::from_micros(YEAR),
            "what was before is as old as it is"
        );
        assert_eq!(clock.stamp(100), 53 * YEAR);
        pass(SECOND as i64, SECOND);
        assert_eq!(clock.age(100, 53 * YEAR), Duration::from_secs(1));
    }

    #[test]
    fn many_steps_are_forgotten_in_the_safe_direction() {
        let (mut clock, pass) = clock(0);
        let first = clock.stamp(100);
        for place in 101..1_000 {
            pass(10 * SECOND as i64, SECOND);
            clock.stamp(place);
        }
        assert!(clock.steps.len() <= MAX_STEPS);
        assert!(clock.age(100, first) <= Duration::from_secs(900));
    }
}
