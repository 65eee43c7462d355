//! How much is called, how long, and what a call costs.

use std::time::Duration;

use plugmesh_benches::open_loop::Schedule;
use serde::{Deserialize, Serialize};

/// Instances of the plugin.
pub(crate) const INSTANCES: u32 = 3;

/// The seed, unless somebody gives one.
pub(crate) const SEED: u64 = 20_250_711;

/// Calls a second. Two CPUs are about a third busy with it; without optimisation they manage a fifth of it.
const RATE: f64 = if cfg!(debug_assertions) { 400.0 } else { 2000.0 };

/// What all processes of a cell know.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) phases: Phases,
    /// Deadline of a call.
    pub(crate) deadline: Duration,
    /// For how long a frozen instance stands still.
    pub(crate) freeze: Duration,
    /// How long a flapping instance is well, and then unwell.
    pub(crate) flap: Duration,
}

/// What follows what.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Phases {
    /// Until the disturbance.
    pub(crate) warm_up: Duration,
    /// As long as it lasts.
    pub(crate) disturbed: Duration,
    /// After it.
    pub(crate) recovery: Duration,
}

impl Plan {
    pub(crate) fn new(seed: u64, quick: bool) -> Self {
        let phases = |warm_up, disturbed, recovery| Phases {
            warm_up: Duration::from_millis(warm_up),
            disturbed: Duration::from_millis(disturbed),
            recovery: Duration::from_millis(recovery),
        };
        let millis = Duration::from_millis;
        match quick {
            false => Self {
                seed,
                phases: phases(1000, 4000, 2000),
                deadline: millis(2000),
                freeze: millis(5000),
                flap: millis(250),
            },
            true => Self {
                seed,
                phases: phases(200, 400, 200),
                deadline: millis(500),
                freeze: millis(400),
                flap: millis(100),
            },
        }
    }

    /// The calls of a scenario.
    pub(crate) fn schedule(self) -> Schedule {
        let Phases { warm_up, disturbed, recovery } = self.phases;
        Schedule { seed: self.seed, rate: RATE, length: warm_up + disturbed + recovery }
    }

    /// The plan for people.
    pub(crate) fn describe(self) -> String {
        let Phases { warm_up, disturbed, recovery } = self.phases;
        format!(
            "seed {}: {RATE} calls/s to {INSTANCES} instances, deadline {:?}; {warm_up:?} before, {disturbed:?} \
             (frozen: {:?}) during, {recovery:?} after",
            self.seed, self.deadline, self.freeze
        )
    }
}

/// A number that looks random and is the same for the same two (splitmix64).
pub(crate) fn mix(seed: u64, id: u64) -> u64 {
    let mut z = seed ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same as a number from 0 up to 1.
pub(crate) fn mixed_share(seed: u64, id: u64) -> f64 {
    // 53 bits are what a double holds.
    (mix(seed, id) >> 11) as f64 / (1u64 << 53) as f64
}

/// How long the work of a call waits for something else, such as a disk or a database: 1 ms and an exponential share
/// of 1 ms on average, 6 ms at most.
pub(crate) fn wait_of(seed: u64, id: u64) -> Duration {
    let exponential = -(1.0 - mixed_share(seed, id)).ln();
    Duration::from_secs_f64(0.001 * (1.0 + exponential.min(5.0)))
}
