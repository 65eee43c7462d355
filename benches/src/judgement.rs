//! What a disturbance did to the calls: computed from what the caller saw and what the instances wrote down.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::BoxError;
use crate::cell::{Metric, Sample};
use crate::histogram::Histogram;
use crate::journal::{Event, Incarnation, Record};
use crate::open_loop::Outcome;

/// Traffic has left an instance in the first window of this length in which it got less than [`LEFT`] of its share.
const WINDOW: Duration = Duration::from_millis(100);

/// Share of the fair share below which an instance counts as left.
const LEFT: f64 = 0.1;

/// What was done to whom, and when.
#[derive(Clone, Copy, Debug)]
pub struct Disturbance {
    /// From when, as [`now`](crate::journal::now) counts.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// The one instance that was hit, if it was one.
    pub bad: Option<Incarnation>,
    /// How many instances there are.
    pub instances: u32,
}

/// Whether the call with this id may be executed twice.
pub fn is_idempotent(id: u64) -> bool {
    id.is_multiple_of(2)
}

/// Everything that is counted. Losses and executions are those of the whole run; latencies those of the calls that were
/// due during the disturbance, whatever they ended with.
///
/// # Errors
/// A call was answered that nobody executed: the journals cannot be trusted.
pub fn judge(
    outcome: &Outcome,
    journals: &[(Incarnation, Vec<Record>)],
    disturbance: Disturbance,
) -> Result<Sample, BoxError> {
    let executed = count(journals, Event::Executed);
    let arrived = count(journals, Event::Arrived);
    if let Some(call) = outcome.calls.iter().find(|c| c.is_answered() && !executed.contains_key(&c.id)) {
        return Err(format!("call {} was answered, and no journal knows of it", call.id).into());
    }
    let lost = |idempotent| {
        outcome.calls.iter().filter(|c| !c.is_answered() && is_idempotent(c.id) == idempotent).count()
    };
    let again = |idempotent| {
        executed.iter().filter(|(id, times)| **times > 1 && is_idempotent(**id) == idempotent).count()
    };
    let attempts: usize = arrived.values().sum();
    let mut latencies = Histogram::default();
    for call in during(outcome, disturbance) {
        latencies.record(call.latency);
    }
    let millis = |quantile| latencies.quantile(quantile) / 1e6;
    let mut sample = Sample::from([
        (Metric::Sent, outcome.calls.len() as f64),
        (Metric::LostIdempotent, lost(true) as f64),
        (Metric::LostOther, lost(false) as f64),
        (Metric::ExecutedTwice, again(false) as f64),
        (Metric::Repeated, again(true) as f64),
        (Metric::ExtraAttempts, (attempts - arrived.len()) as f64),
        (Metric::Median, millis(0.5)),
        (Metric::Tail, millis(0.99)),
        (Metric::FarTail, millis(0.999)),
        (Metric::Lag, outcome.lag as f64 / 1e6),
    ]);
    if let Some(left) = disturbance.bad.and_then(|bad| left(outcome, journals, disturbance, bad)) {
        sample.insert(Metric::Left, left.as_nanos() as f64 / 1e6);
    }
    Ok(sample)
}

fn count(journals: &[(Incarnation, Vec<Record>)], event: Event) -> HashMap<u64, usize> {
    let mut counts = HashMap::new();
    for record in journals.iter().flat_map(|(_, records)| records).filter(|record| record.event == event) {
        *counts.entry(record.id).or_default() += 1;
    }
    counts
}

fn during(outcome: &Outcome, disturbance: Disturbance) -> impl Iterator<Item = &crate::open_loop::Call> {
    outcome.calls.iter().filter(move |call| (disturbance.from..disturbance.until).contains(&call.due))
}

/// How long after the disturbance began the last call was due that still went to the bad instance, before the first
/// window in which hardly any did; none when there is no such window.
///
/// A call went there when that incarnation wrote down its arrival, and when it was lost: the other instances are
/// well. So calls count too that a dead or frozen process never saw. One that was tried there in vain and saved
/// by another instance is not seen.
fn left(
    outcome: &Outcome,
    journals: &[(Incarnation, Vec<Record>)],
    disturbance: Disturbance,
    bad: Incarnation,
) -> Option<Duration> {
    let theirs = journals.iter().filter(|(incarnation, _)| *incarnation == bad);
    let there: HashSet<u64> = theirs.flat_map(|(_, records)| records).map(|record| record.id).collect();
    let window = WINDOW.as_nanos() as u64;
    let mut windows = vec![(0u32, 0u32); ((disturbance.until - disturbance.from) / window) as usize];
    let mut last = vec![0; windows.len()];
    for call in during(outcome, disturbance) {
        let since = call.due - disturbance.from;
        let index = (since / window) as usize;
        let (Some((all, bad)), Some(last)) = (windows.get_mut(index), last.get_mut(index)) else {
            continue;
        };
        *all += 1;
        if there.contains(&call.id) || !call.is_answered() {
            *bad += 1;
            *last = since.max(*last);
        }
    }
    let fair = |all: u32| f64::from(all) / f64::from(disturbance.instances);
    let calm = windows.iter().position(|(all, bad)| f64::from(*bad) < LEFT * fair(*all))?;
    let last = last.get(..=calm)?.iter().max()?;
    Some(Duration::from_nanos(*last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_loop::Call;

    const MS: u64 = 1_000_000;
    const BAD: Incarnation = Incarnation { ordinal: 0, pid: 1 };
    const GOOD: Incarnation = Incarnation { ordinal: 1, pid: 2 };
    const DISTURBANCE: Disturbance =
        Disturbance { from: 100 * MS, until: 1100 * MS, bad: Some(BAD), instances: 2 };

    /// A call a millisecond, each 2 ms long, from 0 to 1200 ms.
    fn calls() -> Vec<Call> {
        (0..1200).map(|id| Call { id, due: id * MS, latency: 2 * MS, code: 0 }).collect()
    }

    fn done(id: u64) -> [Record; 2] {
        [Event::Arrived, Event::Executed].map(|event| Record { event, id, at: id * MS })
    }

    fn journals(bad: impl Fn(u64) -> bool) -> Vec<(Incarnation, Vec<Record>)> {
        let of = |wanted: bool| (0..1200).filter(|id| bad(*id) == wanted).flat_map(done).collect();
        vec![(BAD, of(true)), (GOOD, of(false))]
    }

    fn judged(calls: Vec<Call>, journals: &[(Incarnation, Vec<Record>)]) -> Sample {
        judge(&Outcome { calls, lag: 0 }, journals, DISTURBANCE).unwrap()
    }

    #[test]
    fn all_is_well_when_nothing_happens() {
        let sample = judged(calls(), &journals(|_| false));
        assert_eq!(sample[&Metric::Sent], 1200.0);
        for metric in [
            Metric::LostIdempotent,
            Metric::LostOther,
            Metric::ExecutedTwice,
            Metric::Repeated,
            Metric::ExtraAttempts,
            Metric::Left,
        ] {
            assert_eq!(sample[&metric], 0.0, "{metric:?}");
        }
        assert!((sample[&Metric::Tail] - 2.0).abs() < 0.05);
    }

    #[test]
    fn losses_and_repetitions_are_told_apart_by_kind() {
        let (mut calls, mut journals) = (calls(), journals(|_| false));
        for id in [2, 3, 5] {
            calls[id].code = 14;
        }
        // Lost, and never executed; 7 and 8 twice, 9 tried twice and executed once.
        journals[1].1.retain(|record| record.id != 3);
        journals[0].1.extend([7, 8].into_iter().flat_map(done));
        journals[0].1.push(Record { event: Event::Arrived, id: 9, at: 0 });
        let sample = judged(calls, &journals);
        assert_eq!((sample[&Metric::LostIdempotent], sample[&Metric::LostOther]), (1.0, 2.0));
        assert_eq!((sample[&Metric::Repeated], sample[&Metric::ExecutedTwice]), (1.0, 1.0));
        assert_eq!(sample[&Metric::ExtraAttempts], 3.0);
    }

    #[test]
    fn an_answer_without_an_execution_is_no_result() {
        let mut journals = journals(|_| false);
        journals[1].1.retain(|record| record.id != 11);
        let error = judge(&Outcome { calls: calls(), lag: 0 }, &journals, DISTURBANCE).unwrap_err();
        assert_eq!(error.to_string(), "call 11 was answered, and no journal knows of it");
    }

    #[test]
    fn only_calls_of_the_disturbance_make_the_tail() {
        let mut slow = calls();
        slow[50].latency = 900 * MS;
        slow[1150].latency = 900 * MS;
        assert!(judged(slow.clone(), &journals(|_| false))[&Metric::FarTail] < 3.0);
        slow[600].latency = 900 * MS;
        slow[601].latency = 900 * MS;
        assert!(judged(slow, &journals(|_| false))[&Metric::FarTail] > 800.0);
    }

    #[test]
    fn traffic_has_left_when_a_window_is_calm() {
        // Half of the calls until 330 ms, then now and then one to see how it is.
        let bad = |id: u64| id < 330 && id.is_multiple_of(2) || id == 777;
        assert_eq!(judged(calls(), &journals(bad))[&Metric::Left], 328.0 - 100.0);
        let never = |id: u64| id.is_multiple_of(2);
        assert_eq!(judged(calls(), &journals(never)).get(&Metric::Left), None);
    }

    #[test]
    fn a_lost_call_went_to_the_bad_instance() {
        let mut lost = calls();
        lost.iter_mut().skip(100).take(150).for_each(|call| call.code = 4);
        assert_eq!(judged(lost, &journals(|_| false))[&Metric::Left], 149.0);
    }
}
