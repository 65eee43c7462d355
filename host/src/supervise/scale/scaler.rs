//! How many instances there should be, from looks at the load.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Scale;

/// Over which the number of calls in flight is smoothed: one look catches a burst as likely as a gap.
const SMOOTHING: Duration = Duration::from_secs(1);

/// Share of the target below which those that are left must stay, for one to go. What is stopped at four fifths is not
/// started again when the load moves by a tenth.
const SLACK: f64 = 0.8;

/// The load at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Calls in flight on all instances.
    pub(super) in_flight: u64,
    /// Calls that have begun. It may start anew with an instance; any change counts as calls.
    pub(super) begun: u64,
}

/// Decides from looks at the load. Between its thresholds nothing changes, so that it never goes to and fro: it
/// adds when there is more than the target for each, and takes one away only when the others would still be well
/// below theirs.
#[derive(Debug)]
pub(super) struct Scaler {
    config: Scale,
    wanted: u32,
    /// When the last look was, and the smoothed number of calls in flight then.
    looked: Instant,
    smoothed: f64,
    /// Since when there are too many calls, and the most that there were.
    above: Option<(Instant, f64)>,
    /// Since when there are too few.
    below: Option<Instant>,
    begun: u64,
    /// When somebody last called.
    active: Instant,
}

impl Scaler {
    /// With `wanted` instances to begin with.
    pub(super) fn new(config: Scale, wanted: u32, now: Instant) -> Self {
        Self { config, wanted, looked: now, smoothed: 0.0, above: None, below: None, begun: 0, active: now }
    }

    /// There are so many now.
    pub(super) fn set(&mut self, wanted: u32, now: Instant) {
        self.wanted = wanted;
        (self.above, self.below) = (None, None);
        self.active = now;
    }

    /// Somebody called, and there was nobody to take it.
    pub(super) fn called(&mut self, now: Instant) {
        self.active = now;
    }

    /// Takes a look; gives how many there should be when that is another number.
    pub(super) fn look(&mut self, now: Instant, load: Load) -> Option<u32> {
        let Scale { min, max, scale_up_after, scale_down_after, idle_timeout, .. } = self.config;
        let passed = now.duration_since(self.looked).as_secs_f64();
        let share = 1.0 - (-passed / SMOOTHING.as_secs_f64()).exp();
        self.smoothed += share * (load.in_flight as f64 - self.smoothed);
        self.looked = now;
        if load.in_flight > 0 || load.begun != self.begun {
            (self.begun, self.active) = (load.begun, now);
        }
        if self.wanted == 0 {
            return None;
        }
        if min == 0 && now.duration_since(self.active) >= idle_timeout {
            return Some(0);
        }
        let target = f64::from(self.config.target_in_flight);
        if self.smoothed > target * f64::from(self.wanted) && self.wanted < max {
            let (since, peak) = self.above.unwrap_or((now, 0.0));
            let peak = peak.max(self.smoothed);
            self.above = Some((since, peak));
            self.below = None;
            let missing = (peak / target).ceil().min(f64::from(max)) as u32;
            return (now.duration_since(since) >= scale_up_after).then_some(missing.max(self.wanted + 1));
        }
        self.above = None;
        let fewer = self.wanted - 1;
        if fewer < min.max(1) || self.smoothed > SLACK * target * f64::from(fewer) {
            self.below = None;
            return None;
        }
        let since = *self.below.get_or_insert(now);
        (now.duration_since(since) >= scale_down_after).then_some(fewer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(100);

    /// A plugin whose load is made up.
    struct Model {
        scaler: Scaler,
        now: Instant,
        begun: u64,
    }

    impl Model {
        fn new(config: Scale) -> Self {
            let now = Instant::now();
            Self { scaler: Scaler::new(config, config.min.max(1), now), now, begun: 0 }
        }

        /// Lets time pass with calls in flight, and gives each change with the seconds after which it came.
        fn pass(&mut self, time: Duration, in_flight: impl Fn(u32) -> u64) -> Vec<(u64, u32)> {
            let began = self.now;
            let mut changes = Vec::new();
            for look in 0..(time.as_millis() / LOOK.as_millis()) as u32 {
                self.now += LOOK;
                let in_flight = in_flight(look);
                self.begun += in_flight;
                if let Some(wanted) = self.scaler.look(self.now, Load { in_flight, begun: self.begun }) {
                    self.scaler.set(wanted, self.now);
                    changes.push(((self.now - began).as_secs(), wanted));
                }
            }
            changes
        }
    }

    fn config() -> Scale {
        Scale { min: 1, max: 8, target_in_flight: 10, ..Scale::default() }
    }

    #[test]
    fn grows_to_what_the_load_asks_for_and_shrinks_one_by_one() {
        let mut model = Model::new(config());
        let grown = model.pass(Duration::from_secs(60), |_| 35);
        assert_eq!(grown.last().map(|(_, wanted)| *wanted), Some(4), "{grown:?}");
        assert!(grown[0].0 >= 2, "not before the stated time: {grown:?}");
        let shrunk = model.pass(Duration::from_secs(300), |_| 0);
        assert_eq!(shrunk.iter().map(|(_, wanted)| *wanted).collect::<Vec<_>>(), [3, 2, 1], "{shrunk:?}");
        let gaps: Vec<_> = shrunk.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(shrunk[0].0 >= 60 && gaps.iter().all(|gap| *gap >= 60), "{shrunk:?}");
    }

    #[test]
    fn a_burst_is_no_reason() {
        let mut model = Model::new(config());
        // A second of many calls every ten: too short to help.
        let changes = model.pass(Duration::from_secs(600), |look| if look % 100 < 10 { 15 } else { 1 });
        assert_eq!(changes, []);
    }

    #[test]
    fn never_goes_to_and_fro_under_a_steady_load() {
        for load in 1..100u64 {
            let mut model = Model::new(config());
            // A tenth more and a tenth less, slowly.
            let wave = |look: u32| {
                let phase = f64::from(look) / 300.0;
                (load as f64 * (1.0 + 0.1 * phase.sin())).round() as u64
            };
            let changes = model.pass(Duration::from_secs(1800), wave);
            let falls = changes.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
            assert_eq!(falls, 0, "{load}: {changes:?}");
        }
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut model = Model::new(Scale { min: 2, max: 3, ..config() });
        let grown = model.pass(Duration::from_secs(60), |_| 1_000_000);
        assert_eq!(grown.iter().map(|(_, wanted)| *wanted).collect::<Vec<_>>(), [3]);
        let shrunk = model.pass(Duration::from_secs(3600), |_| 0);
        assert_eq!(shrunk.iter().map(|(_, wanted)| *wanted).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn sleeps_when_nobody_has_called_for_long_and_only_then() {
        let config = Scale { min: 0, max: 2, idle_timeout: Duration::from_secs(30), ..config() };
        let mut model = Model::new(config);
        // One short call every ten seconds, which a look may catch or not.
        for _ in 0..20 {
            assert_eq!(model.pass(Duration::from_secs(10), |_| 0), []);
            model.begun += 1;
        }
        let changes = model.pass(Duration::from_secs(60), |_| 0);
        assert_eq!(changes, [(30, 0)]);
        assert_eq!(model.pass(Duration::from_secs(600), |_| 0), [], "asleep");
        let mut awake = Model::new(Scale { min: 1, ..config });
        assert_eq!(awake.pass(Duration::from_secs(600), |_| 0), []);
    }
}
