//! What answers and silence mean.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::HealthCheck;

/// What is thought of an instance, by whether it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Thought {
    /// It answers.
    #[default]
    Sound,
    /// It takes long to answer a check, or missed some, fewer in a row than the limit: calls had better go elsewhere.
    Suspect,
    /// It missed as many as the limit: nobody should wait for it.
    Hung,
}

/// Thinks about one instance.
#[derive(Debug)]
pub(super) struct Verdict {
    config: HealthCheck,
    thought: Thought,
    /// Checks missed in a row.
    missed: u32,
    /// Checks answered in a row, while it is hung.
    good: u32,
    /// When it was found hung.
    hung: Option<Instant>,
}

impl Verdict {
    pub(super) fn new(config: HealthCheck) -> Self {
        Self { config, thought: Thought::Sound, missed: 0, good: 0, hung: None }
    }

    pub(super) fn thought(&self) -> Thought {
        self.thought
    }

    /// It answered.
    pub(super) fn answered(&mut self) -> Thought {
        self.missed = 0;
        self.good += 1;
        if self.thought != Thought::Hung || self.good >= self.config.success_limit {
            (self.thought, self.good, self.hung) = (Thought::Sound, 0, None);
        }
        self.thought
    }

    /// A check waits for an answer longer than a sound instance takes.
    pub(super) fn doubted(&mut self) {
        if self.thought == Thought::Sound {
            self.thought = Thought::Suspect;
        }
    }

    /// A check went without an answer.
    pub(super) fn missed(&mut self, now: Instant) -> Thought {
        self.good = 0;
        self.missed = self.missed.saturating_add(1);
        if self.thought != Thought::Hung {
            self.thought = match self.missed >= self.config.failure_limit {
                true => Thought::Hung,
                false => Thought::Suspect,
            };
            self.hung = (self.thought == Thought::Hung).then_some(now);
        }
        self.thought
    }

    /// Pause before the next check, or `None` when the pace of the traffic will do.
    pub(super) fn next(&self) -> Option<Duration> {
        match (self.thought, self.missed) {
            (Thought::Sound, _) => None,
            // What it misses takes a timeout already.
            (_, 1..) => Some(Duration::ZERO),
            (_, 0) => Some(self.config.interval),
        }
    }

    /// Whether a child should be killed, since it has been hung for too long.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.hung.is_some_and(|hung| now.duration_since(hung) >= self.config.kill_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> (Verdict, Instant) {
        let config = HealthCheck { failure_limit: 3, success_limit: 2, ..HealthCheck::default() };
        (Verdict::new(config), Instant::now())
    }

    #[test]
    fn silence_makes_it_suspect_then_hung() {
        let (mut verdict, now) = verdict();
        let thoughts = [0; 4].map(|_| verdict.missed(now));
        assert_eq!(thoughts, [Thought::Suspect, Thought::Suspect, Thought::Hung, Thought::Hung]);
        assert_eq!(verdict.next(), Some(Duration::ZERO), "asked again at once");
    }

    #[test]
    fn doubt_is_no_miss() {
        let (mut verdict, now) = verdict();
        verdict.doubted();
        assert_eq!(verdict.thought(), Thought::Suspect);
        assert_eq!(verdict.answered(), Thought::Sound);
        (0..2).for_each(|_| _ = verdict.missed(now));
        verdict.doubted();
        assert_eq!(verdict.missed(now), Thought::Hung, "the third");
        verdict.doubted();
        assert_eq!(verdict.thought(), Thought::Hung);
    }

    #[test]
    fn one_answer_clears_a_suspect_and_counting_starts_anew() {
        let (mut verdict, now) = verdict();
        verdict.missed(now);
        verdict.missed(now);
        assert_eq!(verdict.answered(), Thought::Sound);
        assert_eq!(verdict.next(), None);
        assert_eq!([0; 2].map(|_| verdict.missed(now)), [Thought::Suspect; 2]);
    }

    #[test]
    fn a_hung_one_must_answer_several_times_in_a_row() {
        let (mut verdict, now) = verdict();
        (0..3).for_each(|_| _ = verdict.missed(now));
        assert_eq!(verdict.answered(), Thought::Hung);
        assert_eq!(verdict.next(), Some(HealthCheck::default().interval));
        assert_eq!(verdict.missed(now), Thought::Hung);
        assert_eq!([0; 2].map(|_| verdict.answered()), [Thought::Hung, Thought::Sound]);
    }

    #[test]
    fn it_is_overdue_when_it_was_hung_for_long_enough() {
        let (mut verdict, now) = verdict();
        (0..3).for_each(|_| _ = verdict.missed(now));
        let kill_after = HealthCheck::default().kill_after;
        verdict.missed(now + kill_after / 2);
        assert!(!verdict.is_overdue(now + kill_after - Duration::from_millis(1)));
        assert!(verdict.is_overdue(now + kill_after));
        (0..2).for_each(|_| _ = verdict.answered());
        assert!(!verdict.is_overdue(now + kill_after * 2), "it came back");
    }
}
