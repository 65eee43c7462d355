//! `rate_limit`, `concurrency` and `connection`: how many calls, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::decode::{boolean, number};
use super::super::defaults::{CONNECTIONS_BOUND, MAX_CONNECTIONS, TIMEOUTS};
use super::section::{count, or_none, section, time};

/// Calls a second that a limit may allow.
const RATES: RangeInclusive<f64> = 0.001..=10_000_000.0;

/// Calls at once that a limit may allow.
const CALLS: RangeInclusive<u32> = 1..=1_000_000;

section! {
    /// How many calls a second are taken: a token bucket for what the section is written at, which is the plugin, a service or
    /// a method. Calls beyond it are answered RESOURCE_EXHAUSTED at once, with the time to wait.
    RateLimit, RateLimitSaid {
        /// Whether there is a limit, once there is a rate.
        [call] enabled: bool = true, boolean;
        /// Calls a second. None: any number.
        [call] requests_per_second: Option<f64> = None, or_none(|d, node| number(d, node, RATES));
        /// Calls that may come at once after a quiet time.
        [call] burst_size: u32 = 20, count(CALLS);
        /// Calls a second of each principal. None: any number.
        [call] principal_requests_per_second: Option<f64> = None, or_none(|d, node| number(d, node, RATES));
        /// Calls of one principal that may come at once after a quiet time.
        [call] principal_burst_size: u32 = 20, count(CALLS);
    }
}

section! {
    /// How many calls are in flight at once. Beyond the limit they wait in a queue, and beyond that they are answered
    /// RESOURCE_EXHAUSTED at once.
    Concurrency, ConcurrencySaid {
        /// Calls in flight to the whole plugin. None: any number.
        [plugin] max_in_flight: Option<u32> = None, or_none(count(CALLS));
        /// Calls in flight to one instance. None: any number.
        [plugin] max_in_flight_per_instance: Option<u32> = None, or_none(count(CALLS));
        /// Whether the limit of the plugin follows the latency that is measured, up to `max_in_flight`.
        [plugin] adaptive: bool = false, boolean;
        /// Calls that may wait.
        [plugin] queue_size: u32 = 1000, count(0..=1_000_000);
        /// How long a call waits at most.
        [plugin] queue_timeout: Duration = Duration::from_secs(1), time(TIMEOUTS);
    }
}

section! {
    /// Connections to instances, and the time that calls may take.
    Connection, ConnectionSaid {
        /// Connections to one instance at most. The first opens at once, the others when calls crowd.
        [plugin] max_connections: u32 = MAX_CONNECTIONS, count(1..=CONNECTIONS_BOUND);
        /// How long a dial may take, with TLS.
        [plugin] connection_timeout: Duration = Duration::from_secs(10), time(TIMEOUTS);
        /// How long calls wait for an instance when none is ready. When none has been for this long, calls fail at once. It is
        /// linkerd's failfast.
        [plugin] ready_timeout: Duration = Duration::from_secs(3), time(TIMEOUTS);
        /// Deadline of a call whose caller gives none. None: it may last for ever. Calls of methods that stream have it only
        /// where it is said for their service or method.
        [call] request_timeout: Option<Duration> = None, or_none(time(TIMEOUTS));
        /// Longest deadline that a caller may give. None: any.
        [call] max_request_timeout: Option<Duration> = None, or_none(time(TIMEOUTS));
    }
}
