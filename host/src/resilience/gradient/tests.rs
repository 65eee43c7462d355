use super::*;

/// The least that a step of the simulation lasts.
const STEP: Duration = Duration::from_millis(10);

/// A server that does `capacity` calls at once and lets others wait, and clients who each call again when they
/// are answered. By Little's law, `n` calls in flight take `mean × max(1, n / capacity)` on average, of which
/// what is above the mean is waiting.
struct Simulation {
    limit: GradientLimit,
    now: Moment,
    base: Duration,
    /// One call in so many takes twenty times the base.
    slow_one_in: u64,
    capacity: u32,
    clients: u32,
    /// Calls that are due but for a fraction.
    due: f64,
    served: u64,
    random: fastrand::Rng,
}

impl Simulation {
    fn new(capacity: u32, clients: u32) -> Self {
        let limit = GradientLimit::with_random(GradientSettings::default(), || 0.5);
        let base = Duration::from_millis(5);
        Self {
            limit,
            now: Moment::default(),
            base,
            slow_one_in: u64::MAX,
            capacity,
            clients,
            due: 0.0,
            served: 0,
            random: fastrand::Rng::with_seed(7),
        }
    }

    fn run(&mut self, seconds: u64) -> u32 {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.now = self.now + STEP;
            let in_flight = self.clients.min(self.limit.limit());
            let mean = self.base.mul_f64(1.0 + 19.0 / self.slow_one_in as f64);
            let queueing = (f64::from(in_flight) / f64::from(self.capacity)).max(1.0);
            self.due += STEP.as_secs_f64() / mean.mul_f64(queueing).as_secs_f64() * f64::from(in_flight);
            while self.due >= 1.0 {
                self.due -= 1.0;
                self.served += 1;
                let is_slow = self.random.u64(..self.slow_one_in) == 0;
                let rtt = self.base * if is_slow { 20 } else { 1 } + mean.mul_f64(queueing - 1.0);
                self.limit.record(rtt, in_flight, false, self.now);
            }
        }
        self.limit.limit()
    }

    /// The average over a while, in which the limit is also lowered to measure.
    fn settled(&mut self) -> f64 {
        self.run(90);
        let limits: Vec<_> = (0..60).map(|_| f64::from(self.run(1))).collect();
        limits.iter().sum::<f64>() / limits.len() as f64
    }
}

#[test]
fn settles_a_little_above_what_the_server_can_do() {
    for capacity in [1, 2, 5, 10, 40, 200] {
        let found = Simulation::new(capacity, 10_000).settled();
        // Where 1.25 × capacity + √limit is the limit again.
        let most = 1.3 * f64::from(capacity) + 1.5 * f64::from(capacity).sqrt() + 3.0;
        assert!(found >= f64::from(capacity) && found <= most, "{found} for {capacity}, at most {most}");
    }
}

#[test]
fn serves_as_many_as_without_a_limit() {
    let mut simulation = Simulation::new(10, 10_000);
    simulation.run(90);
    let before = simulation.served;
    simulation.run(60);
    // 10 at once for 5 ms each.
    let share = (simulation.served - before) as f64 / (60.0 * 2_000.0);
    assert!(share > 0.99, "{share}");
}

#[test]
fn slow_calls_among_fast_ones_do_not_fool_it() {
    for slow_one_in in [2, 10, 100] {
        let mut simulation = Simulation::new(20, 10_000);
        simulation.slow_one_in = slow_one_in;
        let found = simulation.settled();
        assert!(found > 18.0 && found < 45.0, "{found} with one slow in {slow_one_in}");
    }
}

#[test]
fn follows_the_server_up_and_down() {
    let mut simulation = Simulation::new(10, 10_000);
    assert!(simulation.settled() < 20.0);
    simulation.capacity = 50;
    let found = simulation.settled();
    assert!(found > 50.0 && found < 80.0, "{found}");
    simulation.capacity = 10;
    let found = simulation.settled();
    assert!(found > 10.0 && found < 20.0, "{found}");
}

#[test]
fn learns_that_calls_take_longer_now() {
    let mut simulation = Simulation::new(20, 10_000);
    simulation.settled();
    simulation.base = Duration::from_millis(50);
    let found = simulation.settled();
    assert!(found > 20.0 && found < 40.0, "{found}");
    let baseline = simulation.limit.baseline().unwrap();
    assert!(baseline.abs_diff(simulation.base) < Duration::from_millis(5), "{baseline:?}");
}

#[test]
fn stays_when_little_is_asked_of_it() {
    let mut simulation = Simulation::new(10, 10_000);
    simulation.settled();
    let before = simulation.run(20);
    simulation.clients = 2;
    simulation.run(600);
    let after = simulation.limit.limit();
    assert!(after.abs_diff(before) <= before / 2 + 1, "{before} became {after}");
    // Nor does it rise where nobody tests it.
    let mut quiet = Simulation::new(1_000, 3);
    assert_eq!(quiet.run(600), GradientSettings::default().initial);
    // An hour without any call changes nothing.
    quiet.now = quiet.now + Duration::from_secs(3_600);
    assert_eq!(quiet.run(60), GradientSettings::default().initial);
}

#[test]
fn backs_off_when_calls_are_refused() {
    let limit = GradientLimit::new(GradientSettings { min: 4, max: 100, initial: 80 });
    let mut found = Vec::new();
    for n in 1..100 {
        let now = Moment::from_nanos(n * 100_000_000);
        found.extend(limit.record(Duration::ZERO, 80, true, now));
    }
    assert_eq!(found.first(), Some(&72));
    assert_eq!(limit.limit(), 4);
}

#[test]
fn stays_within_its_bounds() {
    for (min, max, initial) in [(3, 8, 100), (0, 0, 0), (9, 2, 5), (1, u32::MAX, 10)] {
        let limit = GradientLimit::new(GradientSettings { min, max, initial });
        let bounds = min.max(1)..=max.max(min).max(1);
        for n in 0..20_000u64 {
            let in_flight = limit.limit();
            limit.record(
                Duration::from_micros(n % 700),
                in_flight,
                n % 997 == 0,
                Moment::from_nanos(n * 1_000_000),
            );
            assert!(bounds.contains(&limit.limit()), "{limit:?}");
        }
    }
}

#[test]
fn threads_at_once_do_no_harm() {
    let limit = GradientLimit::new(GradientSettings::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..50_000u64 {
                    let now = Moment::from_nanos(n * 100_000);
                    limit.record(Duration::from_millis(5), limit.limit(), false, now);
                }
            });
        }
    });
    // Nothing ever waits, so it only grew.
    assert!(limit.limit() > 100, "{limit:?}");
    assert_eq!(limit.baseline().map(|baseline| baseline.as_millis()), Some(4));
}
