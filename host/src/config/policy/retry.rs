//! `retry` and `hedging`.

use std::fmt;
use std::time::Duration;

use tonic::Code;

use super::super::decode::{Decoder, boolean, codes, duration, number, size};
use super::super::size::ByteSize;
use super::super::yaml::Node;
use super::section::{count, or_none, section, shown_as_text, time};
use crate::code::Codes;

/// What an interval between attempts may be.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);

/// Most attempts after the first: gRPC clients stop at five in all (A6).
const MAX_RETRIES: u32 = 4;

section! {
    /// When a call that failed is sent again. A call that provably never reached the plugin's code is sent again in any
    /// case; one that may have is sent again only when its method is [idempotent](super::Policy::idempotency). Semantics and
    /// figures are those of gRPC's proposal A6.
    Retry, RetrySaid {
        /// Whether calls are sent again at all.
        [call] enabled: bool = true, boolean;
        /// Attempts after the first.
        [call] max_retries: u32 = 3, count(0..=MAX_RETRIES);
        /// Pause before the first of them.
        [call] initial_interval: Duration = Duration::from_millis(100), time(INTERVALS);
        /// Longest pause.
        [call] max_interval: Duration = Duration::from_secs(5), time(INTERVALS);
        /// By how much each pause is longer than the one before.
        [call] multiplier: f64 = 2.0, |d, node| number(d, node, 1.0..=10.0);
        /// Share by which a pause is longer or shorter at random.
        [call] jitter: f64 = 0.2, |d, node| number(d, node, 0.0..=1.0);
        /// Statuses after which an idempotent call is sent again.
        [call] codes: Codes = Codes::of(&[Code::Unavailable]), codes;
        /// How long one attempt may take before the next one is made, for idempotent calls. None: as long as the call.
        [call] attempt_timeout: Option<Duration> = None, or_none(time(INTERVALS));
        /// Bytes of one request that are kept for sending it again. A larger one is sent once.
        [call] buffer_size: ByteSize = ByteSize::kib(256), |d, node| size(d, node, &(ByteSize::bytes(0)..=ByteSize::mib(16)));
        /// Retries and hedges per call of the last ten seconds: more would make a bad time worse.
        [plugin] budget_ratio: f64 = 0.2, |d, node| number(d, node, 0.0..=10.0);
        /// Retries and hedges a second that are always allowed, so that a quiet plugin has some.
        [plugin] budget_min_per_second: u32 = 10, count(0..=10_000);
    }
}

/// When a second attempt is made beside one that is still waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgingDelay {
    /// After this long.
    Fixed(Duration),
    /// When the attempt is slower than 95 of 100 calls of the method have been of late.
    P95,
}

impl fmt::Display for HedgingDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(delay) => humantime::format_duration(*delay).fmt(f),
            Self::P95 => f.write_str("p95"),
        }
    }
}

shown_as_text!(HedgingDelay);

section! {
    /// When another attempt is made while the first still waits; the first answer counts, the others are cancelled. Only for
    /// idempotent methods, each attempt at another instance, within the budget of retries (gRPC's proposal A6).
    Hedging, HedgingSaid {
        /// Whether calls are hedged at all, once there is a delay.
        [call] enabled: bool = true, boolean;
        /// When the next attempt is made. None: never.
        [call] delay: Option<HedgingDelay> = None, or_none(delay);
        /// Attempts in all, the first among them.
        [call] max_attempts: u32 = 2, count(2..=MAX_RETRIES + 1);
        /// Statuses of one attempt that do not end the others.
        [call] non_fatal_codes: Codes = Codes::of(&[Code::Unavailable, Code::Internal, Code::Aborted]), codes;
    }
}

fn delay(d: &mut Decoder<'_>, node: &Node) -> Option<HedgingDelay> {
    match node.is_text("p95") {
        true => Some(HedgingDelay::P95),
        false => duration(d, node, &INTERVALS).map(HedgingDelay::Fixed),
    }
}
