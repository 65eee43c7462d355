//! When an instance is asked whether it still answers.

use std::time::Duration;

use tokio::time::Instant;

/// Intervals between checks of an instance that has streams open and no call that waits for an answer.
const STREAMING: u32 = 10;

/// Intervals between checks of an instance without calls: nobody suffers while nobody calls, and a thousand idle
/// instances should cost next to nothing.
const IDLE: u32 = 60;

/// What is known of the traffic of an instance. All but `waiting` and `open` only grow; a connection that is made
/// anew may start their count anew, which counts as a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Responses that have begun.
    pub(super) answers: u64,
    /// Calls that have begun.
    pub(super) begun: u64,
    /// Calls whose response has not begun.
    pub(super) waiting: usize,
    /// Calls that have not ended.
    pub(super) open: u64,
}

/// Decides when to ask, from looks at the traffic: an answer to a call proves as much as one to a check.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// At the last look that found an answer.
    answers: u64,
    begun: u64,
    /// When an answer was last noticed.
    heard: Instant,
    /// Since when calls go unanswered.
    unanswered: Option<Instant>,
    /// When it was last asked; `None` before the first time.
    asked: Option<Instant>,
    /// When to ask although nobody calls.
    idle_until: Instant,
}

impl Pace {
    /// For an instance that is up from `now` on. It is asked for the first time soon after, since a person who
    /// looks would like to know its response time; `spread`, from 0 to 1, here and in [`look`](Self::look), keeps
    /// instances from asking all at once.
    pub(super) fn new(interval: Duration, now: Instant, spread: f64) -> Self {
        let idle_until = now + interval.mul_f64(0.5 + spread);
        Self { interval, answers: 0, begun: 0, heard: now, unanswered: None, asked: None, idle_until }
    }

    /// When an answer was last noticed.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Takes a look; whether to ask now.
    pub(super) fn look(&mut self, now: Instant, traffic: Traffic, spread: impl FnOnce() -> f64) -> bool {
        let answered = traffic.answers != self.answers;
        let waits = !answered && (traffic.waiting > 0 || traffic.begun != self.begun);
        self.unanswered = waits.then(|| self.unanswered.unwrap_or(now));
        if answered {
            (self.answers, self.begun, self.heard) = (traffic.answers, traffic.begun, now);
        }
        let due = match (self.asked, self.unanswered) {
            (None, _) => now >= self.idle_until,
            // A check that is due for want of calls waits for a lull.
            _ if answered => false,
            (Some(asked), Some(since)) => now.duration_since(since.max(asked)) >= self.interval,
            (Some(asked), None) if traffic.open > 0 => {
                now.duration_since(self.heard.max(asked)) >= self.interval * STREAMING
            }
            (Some(_), None) => now >= self.idle_until,
        };
        if due {
            let idle_until = now + (self.interval * IDLE).mul_f64(0.8 + 0.4 * spread());
            (self.asked, self.idle_until) = (Some(now), idle_until);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);
    const LOOK: Duration = Duration::from_millis(100);

    /// Looks for so long, with traffic that `at` gives, and says when it was due.
    fn due(pace: &mut Pace, start: Instant, looks: u32, at: impl Fn(u32) -> Traffic) -> Vec<u32> {
        (1..=looks).filter(|look| pace.look(start + LOOK * *look, at(*look), || 0.5)).collect()
    }

    /// After the first check was answered.
    fn settled() -> (Pace, Instant, Traffic) {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL, start, 0.5);
        assert_eq!(due(&mut pace, start, 10, |_| Traffic::default()), [5], "asked once soon");
        let now = start + LOOK * 11;
        let traffic = Traffic { answers: 1, ..Traffic::default() };
        assert!(!pace.look(now, traffic, || 0.5));
        (pace, now, traffic)
    }

    #[test]
    fn an_idle_instance_is_asked_rarely() {
        let (mut pace, start, traffic) = settled();
        assert_eq!(due(&mut pace, start, 700, |_| traffic), [294, 594]);
    }

    #[test]
    fn an_instance_that_answers_calls_is_never_asked() {
        let (mut pace, start, _) = settled();
        let busy = |look: u32| Traffic {
            answers: 1 + u64::from(look),
            begun: 3 + u64::from(look),
            waiting: 2,
            open: 2,
        };
        assert_eq!(due(&mut pace, start, 1000, busy), [0; 0]);
    }

    #[test]
    fn calls_without_an_answer_make_it_be_asked_soon() {
        let (mut pace, start, traffic) = settled();
        let frozen = Traffic { begun: 7, waiting: 7, open: 7, ..traffic };
        // Idle for long, then calls begin and none is answered.
        let found = due(&mut pace, start, 120, |look| if look <= 100 { traffic } else { frozen });
        assert_eq!(found, [106, 111, 116]);
    }

    #[test]
    fn calls_that_give_up_at_once_are_calls_all_the_same() {
        let (mut pace, start, traffic) = settled();
        let given_up = |look: u32| Traffic { begun: u64::from(look), ..traffic };
        assert_eq!(due(&mut pace, start, 12, given_up), [6, 11]);
    }

    #[test]
    fn streams_that_are_open_make_it_be_asked_now_and_then() {
        let (mut pace, start, traffic) = settled();
        // Begun and answered before; a stream stays open.
        assert!(!pace.look(start, Traffic { answers: 2, begun: 1, open: 1, ..traffic }, || 0.5));
        let open = Traffic { answers: 2, begun: 1, open: 1, ..traffic };
        assert_eq!(due(&mut pace, start, 120, |_| open), [50, 100]);
    }
}
