//! A model check: every state that one, two or three breakers behind a small picker can get into, up to a
//! depth, with time steps as events. From each of them, if all calls succeed from then on, every breaker
//! must be closed again within a bounded time.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::*;

/// Small, so that few events lead far.
const SETTINGS: BreakerSettings = BreakerSettings {
    consecutive: Some(ConsecutiveRule { failure_threshold: 2, expiry: Duration::from_secs(3) }),
    rate: Some(RateRule { success_rate: 0.6, min_requests: 3 }),
    success_threshold: 2,
    open_initial: Duration::from_secs(1),
    open_max: Duration::from_secs(4),
    jitter: 0.0,
};

/// Calls that may be under way at once.
const IN_FLIGHT: usize = 2;

/// The longest way back: the lease of a probe that hangs, then a pause at its longest.
const BOUND: u64 = BreakerSettings::PROBE_LEASE.as_secs() + SETTINGS.open_max.as_secs() + 1;

/// The same when all calls are streams without an end, each of which proves itself for a lease.
const STREAMS_BOUND: u64 = BOUND + SETTINGS.success_threshold as u64 * BreakerSettings::PROBE_LEASE.as_secs();

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A call begins; the number chooses among the endpoints that the picker allows.
    Start(usize),
    /// A call is answered and goes on.
    Answer(usize),
    /// A call ends.
    End(usize, Verdict),
    /// A call is dropped without a verdict.
    Drop(usize),
    /// So many seconds pass.
    Wait(u64),
}

/// A call that is under way.
struct Call {
    endpoint: usize,
    probe: Option<Probe>,
    began: Moment,
}

struct World {
    now: Moment,
    breakers: Vec<Arc<Breaker>>,
    calls: Vec<Call>,
    /// What each breaker was told since it was last closed anew.
    told: Vec<Vec<(Moment, Verdict)>>,
}

impl World {
    fn new(endpoints: usize) -> Self {
        let breakers = (0..endpoints).map(|_| Breaker::with_random(SETTINGS, || 0.0)).collect();
        Self { now: Moment::default(), breakers, calls: Vec::new(), told: vec![Vec::new(); endpoints] }
    }

    fn fork(&self) -> Self {
        let breakers: Vec<_> = self.breakers.iter().map(|breaker| breaker.fork()).collect();
        let fork = |call: &Call| Call {
            probe: call.probe.as_ref().map(|probe| Probe {
                breaker: Arc::clone(&breakers[call.endpoint]),
                generation: probe.generation,
            }),
            ..*call
        };
        let calls = self.calls.iter().map(fork).collect();
        Self { now: self.now, breakers, calls, told: self.told.clone() }
    }

    /// The endpoints that the picker allows: a due probe first, then what is closed, else all (it fails open).
    fn choices(&self) -> usize {
        if self.breakers.iter().any(|breaker| breaker.next_probe_at().is_some_and(|due| due <= self.now)) {
            return 1;
        }
        let closed = self.breakers.iter().filter(|breaker| breaker.is_closed()).count();
        if closed == 0 { self.breakers.len() } else { closed }
    }

    fn pick(&self, choice: usize) -> (usize, Option<Probe>) {
        for (endpoint, breaker) in self.breakers.iter().enumerate() {
            if let Some(probe) = breaker.try_probe(self.now) {
                return (endpoint, Some(probe));
            }
        }
        let closed: Vec<_> = (0..self.breakers.len()).filter(|n| self.breakers[*n].is_closed()).collect();
        (if closed.is_empty() { choice } else { closed[choice] }, None)
    }

    fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::Wait(1), Event::Wait(BreakerSettings::PROBE_LEASE.as_secs())];
        if self.calls.len() < IN_FLIGHT {
            events.extend((0..self.choices()).map(Event::Start));
        }
        for call in 0..self.calls.len() {
            let verdicts = [Verdict::Success, Verdict::Failure, Verdict::Overload];
            events.extend(verdicts.map(|verdict| Event::End(call, verdict)));
            events.push(Event::Drop(call));
            events.extend(self.calls[call].probe.is_some().then_some(Event::Answer(call)));
        }
        events
    }

    /// Lets `event` happen and checks what must hold of any single step.
    fn step(&mut self, event: Event) {
        match event {
            Event::Wait(seconds) => self.now = self.now + Duration::from_secs(seconds),
            Event::Drop(call) => drop(self.calls.remove(call)),
            Event::Start(choice) => {
                let (endpoint, probe) = self.pick(choice);
                let leased = |call: &&Call| {
                    let is_probe = call.endpoint == endpoint && call.probe.is_some();
                    is_probe && self.now.since(call.began) < BreakerSettings::PROBE_LEASE
                };
                let others = self.calls.iter().filter(leased).count();
                assert!(probe.is_none() || others == 0, "two probes at once");
                self.calls.push(Call { endpoint, probe, began: self.now });
            }
            Event::Answer(call) => {
                let Call { endpoint, probe: Some(probe), .. } = &self.calls[call] else { return };
                let (endpoint, before) = (*endpoint, self.breakers[*endpoint].state());
                let said = probe.answered(self.now);
                self.check(endpoint, before, true, said);
            }
            Event::End(call, verdict) => {
                let Call { endpoint, probe, .. } = self.calls.remove(call);
                let breaker = Arc::clone(&self.breakers[endpoint]);
                let (before, is_probe) = (breaker.state(), probe.is_some());
                if before == State::Closed && !is_probe {
                    self.told[endpoint].push((self.now, verdict));
                }
                let transition = breaker.record(verdict, probe, self.now);
                self.check(endpoint, before, is_probe, transition);
            }
        }
    }

    /// What a breaker says that it did is what it did, and what it was allowed to do.
    fn check(&mut self, endpoint: usize, before: State, is_probe: bool, said: Option<Transition>) {
        let after = self.breakers[endpoint].state();
        match said {
            None => assert_eq!(before, after, "it changed and did not say so"),
            Some(Transition::Opened { rule, until }) => {
                assert!(before == State::Closed && !is_probe && after == State::Open { until });
                let (now, told) = (self.now, &self.told[endpoint]);
                let within = |seconds: u64| {
                    told.iter().filter(move |told| now.since(told.0) < Duration::from_secs(seconds))
                };
                let good = within(10).filter(|told| told.1 == Verdict::Success).count();
                match rule {
                    Rule::Rate => assert!(within(10).count() >= 3 && good * 10 < within(10).count() * 6),
                    Rule::Consecutive => {
                        let recent: Vec<_> = within(3).filter(|told| told.1 != Verdict::Overload).collect();
                        let in_row = recent.iter().rev().take_while(|told| told.1 == Verdict::Failure);
                        assert_eq!(in_row.count(), 2, "{told:?}");
                    }
                }
            }
            Some(Transition::Reopened { until }) => {
                assert!(before == State::HalfOpen && is_probe && after == State::Open { until });
            }
            Some(Transition::Closed) => {
                assert!(before == State::HalfOpen && is_probe && after == State::Closed);
                self.told[endpoint].clear();
            }
        }
    }

    /// From now on all new calls succeed, or are answered and never end. Those under way hang for ever.
    fn recovers(&mut self, are_streams: bool) -> bool {
        for _ in 0..=if are_streams { STREAMS_BOUND } else { BOUND } {
            // One for each probe that may be needed, and one more that is picked as usual.
            for n in 0..=self.breakers.len() * SETTINGS.success_threshold as usize {
                let (endpoint, probe) = self.pick(n % self.choices());
                let said = match probe {
                    Some(probe) if are_streams => {
                        let said = probe.answered(self.now);
                        self.calls.push(Call { endpoint, probe: Some(probe), began: self.now });
                        said
                    }
                    None if are_streams => None,
                    probe => self.breakers[endpoint].record(Verdict::Success, probe, self.now),
                };
                assert!(matches!(said, None | Some(Transition::Closed)), "a success opened it: {said:?}");
            }
            if self.breakers.iter().all(|breaker| breaker.is_closed()) {
                return true;
            }
            self.now = self.now + Duration::from_secs(1);
        }
        false
    }

    /// Equal for states that behave alike for ever: times count relative to now, and what is too long ago to
    /// matter is the same.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let age = |moment: Moment, limit: u64| self.now.since(moment).min(Duration::from_secs(limit));
        for breaker in &self.breakers {
            let inner = breaker.inner();
            let to_probe = breaker.next_probe_at().map(|due| due.since(self.now));
            (breaker.is_closed(), breaker.state() == State::HalfOpen, to_probe).hash(&mut hasher);
            let streak: Vec<_> = inner.streak.iter().map(|then| age(*then, 3)).collect();
            (streak, inner.successes, inner.openings.min(3), inner.last_open).hash(&mut hasher);
            age(inner.closed_at, 10).hash(&mut hasher);
            let totals = (0..10).map(|n| breaker.counts(self.now + Duration::from_secs(n)));
            totals.for_each(|counts| (counts.total, counts.marked).hash(&mut hasher));
        }
        for call in &self.calls {
            let current = |probe: &Probe| {
                let out = probe.breaker.inner().probe;
                out.filter(|out| out.generation == probe.generation).map(|out| out.is_answered)
            };
            (call.endpoint, call.probe.as_ref().map(current), age(call.began, 10)).hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Breaker {
    fn fork(&self) -> Arc<Self> {
        let inner = self.inner().clone();
        Arc::new(Self {
            settings: self.settings,
            gate: self.gate.fork(),
            has_streak: AtomicBool::new(self.has_streak.load(Relaxed)),
            window: Padded(self.window.0.fork()),
            inner: Mutex::new(inner),
        })
    }
}

/// Visits up to `limit` states, nearest first. Gives how many it saw, and how many events deep it got.
fn explore(endpoints: usize, limit: usize) -> (usize, usize) {
    let start = World::new(endpoints);
    let mut seen = HashSet::from([start.fingerprint()]);
    let mut todo = VecDeque::from([(start, Vec::new())]);
    let mut depth = 0;
    while let Some((world, path)) = todo.pop_front() {
        depth = path.len();
        assert!(world.fork().recovers(false), "not closed {BOUND} s after {path:?}");
        assert!(world.fork().recovers(true), "not closed {STREAMS_BOUND} s after {path:?}, with streams");
        for event in world.events() {
            let mut next = world.fork();
            next.step(event);
            if seen.len() < limit && seen.insert(next.fingerprint()) {
                let mut path = path.clone();
                path.push(event);
                todo.push_back((next, path));
            }
        }
    }
    (seen.len(), depth)
}

#[test]
fn one_breaker_always_recovers() {
    let (states, depth) = explore(1, 12_000);
    assert!(states == 12_000 && depth >= 9, "{states} states, {depth} deep");
}

#[test]
fn of_two_breakers_each_always_recovers() {
    let (states, depth) = explore(2, 12_000);
    assert!(states == 12_000 && depth >= 7, "{states} states, {depth} deep");
}

#[test]
fn of_three_breakers_each_always_recovers() {
    let (states, depth) = explore(3, 12_000);
    assert!(states == 12_000 && depth >= 7, "{states} states, {depth} deep");
}
