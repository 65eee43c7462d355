use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: f64) -> Moment {
    Moment::default() + Duration::from_secs_f64(seconds)
}

/// Without jitter.
fn breaker(settings: BreakerSettings) -> Arc<Breaker> {
    Breaker::with_random(settings, || 0.0)
}

fn only_consecutive() -> BreakerSettings {
    BreakerSettings { rate: None, ..BreakerSettings::default() }
}

fn only_rate() -> BreakerSettings {
    BreakerSettings { consecutive: None, ..BreakerSettings::default() }
}

/// Records `verdict` as often as it takes to open.
fn open(breaker: &Breaker, now: Moment) -> Moment {
    for _ in 0..100 {
        if let Some(Transition::Opened { until, .. }) = breaker.record(Verdict::Failure, None, now) {
            return until;
        }
    }
    panic!("a hundred failures do not open it: {breaker:?}");
}

/// Lets probes succeed until it closes.
fn close(breaker: &Arc<Breaker>, now: Moment) {
    for _ in 0..2 {
        let probe = breaker.try_probe(now);
        assert!(probe.is_some());
        breaker.record(Verdict::Success, probe, now);
    }
    assert!(breaker.is_closed());
}

#[test]
fn opens_on_seven_failures_in_a_row() {
    let breaker = breaker(only_consecutive());
    for n in 0..6 {
        assert_eq!(breaker.record(Verdict::Failure, None, at(f64::from(n))), None);
    }
    let until = at(7.0);
    let opened = Some(Transition::Opened { rule: Rule::Consecutive, until });
    assert_eq!(breaker.record(Verdict::Failure, None, at(6.0)), opened);
    assert_eq!(breaker.state(), State::Open { until });
    assert_eq!(breaker.next_probe_at(), Some(until));
}

#[test]
fn a_success_breaks_the_streak_and_neither_overload_nor_silence_does() {
    let breaker = breaker(only_consecutive());
    for _ in 0..6 {
        breaker.record(Verdict::Failure, None, at(0.0));
    }
    breaker.record(Verdict::Success, None, at(0.0));
    for _ in 0..6 {
        assert_eq!(breaker.record(Verdict::Failure, None, at(0.0)), None);
    }
    breaker.record(Verdict::Overload, None, at(0.0));
    breaker.record(Verdict::Neutral, None, at(0.0));
    assert!(breaker.is_closed());
    assert!(breaker.record(Verdict::Failure, None, at(0.0)).is_some());
}

#[test]
fn failures_expire() {
    let breaker = breaker(only_consecutive());
    // One every two seconds: never more than five within ten.
    for n in 0..80_001 {
        assert_eq!(breaker.record(Verdict::Failure, None, at(2.0 * f64::from(n))), None);
    }
    assert!(breaker.is_closed());
}

#[test]
fn opens_when_the_rate_falls_below_its_bound() {
    let breaker = breaker(only_rate());
    for _ in 0..4 {
        breaker.record(Verdict::Success, None, at(0.0));
    }
    // Four of five is 0.8 exactly.
    assert_eq!(breaker.record(Verdict::Failure, None, at(0.0)), None);
    let opened = Some(Transition::Opened { rule: Rule::Rate, until: at(1.0) });
    assert_eq!(breaker.record(Verdict::Overload, None, at(0.0)), opened);
}

#[test]
fn the_minimum_of_requests_is_honoured() {
    let breaker = breaker(only_rate());
    for second in 0..1_000 {
        // Never five within ten seconds, and all of them bad.
        assert_eq!(breaker.record(Verdict::Failure, None, at(2.5 * f64::from(second))), None);
    }
}

#[test]
fn the_rate_rule_never_opens_above_its_bound_however_long_it_runs() {
    let breaker = breaker(BreakerSettings::default());
    for n in 0..200_000u32 {
        let verdict = if n % 16_000 == 15_999 { Verdict::Failure } else { Verdict::Success };
        assert_eq!(breaker.record(verdict, None, at(f64::from(n) * 0.01)), None);
    }
}

#[test]
fn opens_on_nothing_when_both_rules_are_off() {
    let breaker = breaker(BreakerSettings { consecutive: None, ..only_consecutive() });
    for _ in 0..1_000 {
        assert_eq!(breaker.record(Verdict::Failure, None, at(0.0)), None);
    }
}

#[test]
fn one_probe_at_a_time_and_two_successes_close() {
    let breaker = breaker(BreakerSettings::default());
    let until = open(&breaker, at(0.0));
    assert!(breaker.try_probe(at(0.999)).is_none());
    let probe = breaker.try_probe(until);
    assert!(probe.is_some());
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.try_probe(until).is_none());
    assert_eq!(breaker.record(Verdict::Success, probe, until), None);
    assert_eq!(breaker.state(), State::HalfOpen);
    let probe = breaker.try_probe(until);
    assert!(probe.is_some());
    assert_eq!(breaker.record(Verdict::Success, probe, until), Some(Transition::Closed));
    assert_eq!((breaker.state(), breaker.next_probe_at()), (State::Closed, None));
    assert_eq!(breaker.counts(until), Counts::default());
    // A clean streak too.
    for _ in 0..4 {
        assert_eq!(breaker.record(Verdict::Failure, None, until), None);
    }
}

#[test]
fn a_probe_that_fails_or_is_refused_opens_again_for_twice_as_long() {
    let breaker = breaker(BreakerSettings::default());
    let mut until = open(&breaker, at(0.0));
    let mut pauses = Vec::new();
    for n in 0..8 {
        let now = until;
        let probe = breaker.try_probe(now);
        let verdict = if n % 2 == 0 { Verdict::Failure } else { Verdict::Overload };
        let Some(Transition::Reopened { until: next }) = breaker.record(verdict, probe, now) else {
            panic!("a failed probe does not open again");
        };
        pauses.push(next.since(now).as_secs());
        until = next;
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn a_failed_probe_forgets_the_good_ones_before_it() {
    let breaker = breaker(BreakerSettings::default());
    let now = open(&breaker, at(0.0));
    breaker.record(Verdict::Success, breaker.try_probe(now), now);
    breaker.record(Verdict::Failure, breaker.try_probe(now), now);
    let now = breaker.next_probe_at().unwrap();
    assert_eq!(breaker.record(Verdict::Success, breaker.try_probe(now), now), None);
    assert_eq!(breaker.record(Verdict::Success, breaker.try_probe(now), now), Some(Transition::Closed));
}

#[test]
fn a_dropped_or_cancelled_probe_gives_its_place_back() {
    let breaker = breaker(BreakerSettings::default());
    let now = open(&breaker, at(0.0));
    drop(breaker.try_probe(now).unwrap());
    assert_eq!(breaker.state(), State::HalfOpen);
    let probe = breaker.try_probe(now);
    assert!(probe.is_some());
    assert_eq!(breaker.record(Verdict::Neutral, probe, now), None);
    close(&breaker, now);
}

#[test]
fn a_probe_that_hangs_is_superseded_and_then_ignored() {
    let breaker = breaker(BreakerSettings::default());
    let now = open(&breaker, at(0.0));
    let hung = breaker.try_probe(now);
    assert!(breaker.try_probe(now + (BreakerSettings::PROBE_LEASE - Duration::from_millis(1))).is_none());
    let later = now + BreakerSettings::PROBE_LEASE;
    let fresh = breaker.try_probe(later);
    assert!(fresh.is_some());
    assert_eq!(breaker.record(Verdict::Failure, hung, later), None);
    assert_eq!(breaker.state(), State::HalfOpen);
    // Nor did its end give away the place of the other.
    assert!(breaker.try_probe(later).is_none());
    breaker.record(Verdict::Success, fresh, later);
    breaker.record(Verdict::Success, breaker.try_probe(later), later);
    assert!(breaker.is_closed());
}

#[test]
fn streams_without_an_end_prove_it_too() {
    let breaker = breaker(BreakerSettings::default());
    let mut now = open(&breaker, at(0.0));
    let mut streams = Vec::new();
    for _ in 0..2 {
        let probe = breaker.try_probe(now).unwrap();
        assert_eq!(probe.answered(now), None);
        assert!(breaker.try_probe(now).is_none());
        streams.push(probe);
        now = now + BreakerSettings::PROBE_LEASE;
    }
    let third = breaker.try_probe(now).unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(third.answered(now), Some(Transition::Closed));
    assert!(breaker.is_closed());
    // How they end at last is told to nobody.
    for probe in streams.into_iter().chain([third]) {
        assert_eq!(breaker.record(Verdict::Failure, Some(probe), now), None);
    }
    assert_eq!(breaker.counts(now), Counts::default());
}

#[test]
fn a_stream_that_fails_within_the_lease_opens_it_again() {
    let breaker = breaker(BreakerSettings::default());
    let now = open(&breaker, at(0.0));
    let probe = breaker.try_probe(now).unwrap();
    assert_eq!(probe.answered(now), None);
    let said = breaker.record(Verdict::Failure, Some(probe), now + SECOND);
    assert!(matches!(said, Some(Transition::Reopened { .. })));
}

#[test]
fn calls_without_a_probe_change_nothing_unless_closed() {
    let breaker = breaker(BreakerSettings::default());
    let now = open(&breaker, at(0.0));
    for verdict in [Verdict::Success, Verdict::Failure, Verdict::Overload, Verdict::Neutral] {
        assert_eq!(breaker.record(verdict, None, now), None);
    }
    assert_eq!(breaker.state(), State::Open { until: now });
    let probe = breaker.try_probe(now);
    for verdict in [Verdict::Success, Verdict::Failure, Verdict::Overload, Verdict::Neutral] {
        assert_eq!(breaker.record(verdict, None, now), None);
    }
    assert_eq!(breaker.state(), State::HalfOpen);
    drop(probe);
    close(&breaker, now);
}

#[test]
fn earlier_openings_are_forgotten_after_a_stretch_as_long_as_the_last() {
    let breaker = breaker(BreakerSettings::default());
    let mut now = open(&breaker, at(0.0));
    for _ in 0..4 {
        breaker.record(Verdict::Failure, breaker.try_probe(now), now);
        now = breaker.next_probe_at().unwrap();
    }
    // Open for 16 s at last.
    close(&breaker, now);
    now = now + 15 * SECOND;
    assert_eq!(open(&breaker, now).since(now), 32 * SECOND);
    now = now + 32 * SECOND;
    close(&breaker, now);
    now = now + 32 * SECOND;
    assert_eq!(open(&breaker, now).since(now), SECOND);
    now = now + SECOND;
    close(&breaker, now);
    // One second is less than the least.
    now = now + 9 * SECOND;
    assert_eq!(open(&breaker, now).since(now), 2 * SECOND);
}

#[test]
fn jitter_makes_it_longer_and_never_longer_than_the_maximum() {
    let breaker = Breaker::with_random(BreakerSettings::default(), || 1.0);
    let mut now = at(0.0);
    let mut until = open(&breaker, now);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        pauses.push(until.since(now).as_millis());
        now = until;
        breaker.record(Verdict::Failure, breaker.try_probe(now), now);
        until = breaker.next_probe_at().unwrap();
    }
    assert_eq!(pauses, [1_500, 3_000, 6_000, 12_000, 24_000, 48_000, 60_000]);
}

#[test]
fn breakers_that_open_together_do_not_probe_together() {
    let ends: std::collections::HashSet<_> =
        (0..20).map(|_| open(&Breaker::new(BreakerSettings::default()), at(0.0))).collect();
    assert!(ends.len() > 1 && ends.iter().all(|end| (at(1.0)..=at(1.6)).contains(end)), "{ends:?}");
}

#[test]
fn many_threads_give_one_opening_and_one_probe() {
    for _ in 0..200 {
        let breaker = breaker(BreakerSettings::default());
        let (opened, probes, closed) = std::thread::scope(|scope| {
            let work = || {
                let mut seen = (0, 0, 0);
                for _ in 0..20 {
                    let opened = breaker.record(Verdict::Failure, None, at(0.0));
                    seen.0 += u32::from(opened.is_some());
                }
                if let Some(probe) = breaker.try_probe(at(1.0)) {
                    seen.1 += 1;
                    // Kept, so that nobody else gets one.
                    std::mem::forget(probe);
                }
                let again = breaker.record(Verdict::Success, None, at(1.0));
                seen.2 += u32::from(again.is_some());
                seen
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .fold((0, 0, 0), |sum, seen| (sum.0 + seen.0, sum.1 + seen.1, sum.2 + seen.2))
        });
        assert_eq!((opened, probes, closed), (1, 1, 0));
    }
}

/// What may happen to a breaker.
#[derive(Clone, Copy, Debug)]
enum Event {
    Call(Verdict),
    Probe(Option<Verdict>),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let verdict = || {
        prop_oneof![
            4 => Just(Verdict::Failure),
            2 => Just(Verdict::Success),
            1 => Just(Verdict::Overload),
            1 => Just(Verdict::Neutral),
        ]
    };
    prop_oneof![
        6 => verdict().prop_map(Event::Call),
        2 => proptest::option::of(verdict()).prop_map(Event::Probe),
        2 => (1u64..15_000).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Against a list of all that happened: it opens exactly when a rule says so.
    #[test]
    fn opens_exactly_when_a_rule_is_broken(events in proptest::collection::vec(event(), 1..300)) {
        let breaker = breaker(BreakerSettings::default());
        let (mut millis, mut history) = (0u64, Vec::new());
        for event in events {
            let now = Moment::from_nanos(millis * 1_000_000);
            match event {
                Event::Wait(pause) => millis += pause,
                Event::Probe(verdict) => {
                    let probe = breaker.try_probe(now);
                    if let (Some(probe), Some(verdict)) = (probe, verdict)
                        && breaker.record(verdict, Some(probe), now) == Some(Transition::Closed)
                    {
                        history.clear();
                    }
                }
                Event::Call(verdict) => {
                    let was_closed = breaker.is_closed();
                    let transition = breaker.record(verdict, None, now);
                    if !was_closed {
                        prop_assert_eq!(transition, None);
                        continue;
                    }
                    history.push((millis, verdict));
                    let bad = matches!(verdict, Verdict::Failure | Verdict::Overload);
                    let streak = history
                        .iter()
                        .rev()
                        .take_while(|(_, verdict)| *verdict != Verdict::Success)
                        .filter(|(then, verdict)| *verdict == Verdict::Failure && millis - then < 10_000)
                        .count();
                    let counted: Vec<_> = history
                        .iter()
                        .filter(|(then, verdict)| {
                            *verdict != Verdict::Neutral && millis / 1_000 - then / 1_000 < 10
                        })
                        .collect();
                    let good = counted.iter().filter(|(_, verdict)| *verdict == Verdict::Success).count();
                    let rate = counted.len() >= 5 && 5 * good < 4 * counted.len();
                    let expected = bad && (streak >= 7 || rate);
                    prop_assert_eq!(transition.is_some(), expected, "{:?}", history);
                    prop_assert_eq!(breaker.is_closed(), !expected);
                }
            }
        }
    }
}
