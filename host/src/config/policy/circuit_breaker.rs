//! `circuit_breaker`.

use std::ops::RangeInclusive;
use std::time::Duration;

use tonic::Code;

use super::super::decode::{boolean, choice, codes, number};
use super::section::{count, section, shown_as_text, time};
use crate::code::Codes;

/// What a time of rest may be.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);

/// What happens to calls when too few instances are left that may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Panic {
    /// Breakers are not looked at: every instance that is ready takes calls.
    Open,
    /// Calls fail.
    Closed,
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Closed => "closed",
        })
    }
}

shown_as_text!(Panic);

section! {
    /// When an instance that fails gets a rest. Figures are linkerd's, which are sound for one to three instances: rules that
    /// compare instances with each other need five at least.
    CircuitBreaker, CircuitBreakerSaid {
        /// Whether there are breakers.
        [plugin] enabled: bool = true, boolean;
        /// Failures in a row, each within ten seconds, that open it. 0: never.
        [plugin] failure_threshold: u32 = 7, count(0..=1000);
        /// Share of calls in the last ten seconds that must succeed. 0: any will do.
        [plugin] success_rate: f64 = 0.8, |d, node| number(d, node, 0.0..=1.0);
        /// Calls in the last ten seconds below which the share says nothing.
        [plugin] min_request_threshold: u32 = 5, count(1..=1_000_000);
        /// How long it stays open the first time. Each time in a row it is twice as long.
        [plugin] recovery_timeout: Duration = Duration::from_secs(1), time(TIMES);
        /// How long it stays open at most.
        [plugin] max_recovery_timeout: Duration = Duration::from_secs(60), time(TIMES);
        /// Probes in a row that must succeed before it closes. A probe is a real call, one at a time.
        [plugin] success_threshold: u32 = 2, count(1..=100);
        /// Share of ready instances that must be closed, or the panic rule holds. 0: it holds when none is.
        [plugin] panic_threshold: f64 = 0.0, |d, node| number(d, node, 0.0..=1.0);
        /// Whether calls go to every instance (`open`) or fail (`closed`) then.
        [plugin] panic: Panic = Panic::Open,
            |d, node| choice(d, node, &[("open", Panic::Open), ("closed", Panic::Closed)]);
        /// Statuses that count as the instance's failure. RESOURCE_EXHAUSTED counts in the share only.
        [call] codes: Codes = FAILURES, codes;
    }
}

/// The codes that blame the server: those that OpenTelemetry's RPC conventions count as server errors, but for
/// UNIMPLEMENTED, which says that the caller asked the wrong one.
const FAILURES: Codes =
    Codes::of(&[Code::Unknown, Code::DeadlineExceeded, Code::Internal, Code::Unavailable, Code::DataLoss]);
