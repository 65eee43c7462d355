//! How much of one output of a process is kept.

use std::time::Duration;

use tokio::time::Instant;

/// Lines kept per second in the long run: more than a person or a log store wants from one plugin.
const LINES_PER_SECOND: f64 = 1000.0;

/// Bytes kept per second in the long run.
const BYTES_PER_SECOND: f64 = 1024.0 * 1024.0;

/// How many seconds of allowance a quiet process saves up: a burst such as a stack trace passes whole.
const BURST_SECONDS: f64 = 4.0;

/// An allowance of lines and bytes that refills with time.
#[derive(Debug)]
pub(super) struct Allowance {
    lines: f64,
    bytes: f64,
    at: Instant,
}

impl Allowance {
    pub(super) fn full(at: Instant) -> Self {
        Self { lines: LINES_PER_SECOND * BURST_SECONDS, bytes: BYTES_PER_SECOND * BURST_SECONDS, at }
    }

    /// Adds what the time since the last call earned.
    pub(super) fn refill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.at);
        let refilled = |have: f64, rate: f64| (have + rate * passed.as_secs_f64()).min(rate * BURST_SECONDS);
        self.lines = refilled(self.lines, LINES_PER_SECOND);
        self.bytes = refilled(self.bytes, BYTES_PER_SECOND);
        self.at = now;
    }

    /// Takes one line of `bytes`, or says no.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        // A line is at most 16 KiB, so the conversion is exact.
        let bytes = bytes as f64;
        let allowed = self.lines >= 1.0 && self.bytes >= bytes;
        if allowed {
            self.lines -= 1.0;
            self.bytes -= bytes;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_allowance_is_spent_and_refills_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance::full(start);
        let taken = (0..100_000).take_while(|_| allowance.take(10)).count();
        assert_eq!(taken, 4000);
        allowance.refill(start + Duration::from_secs(1));
        let taken = (0..100_000).take_while(|_| allowance.take(10)).count();
        assert_eq!(taken, 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn long_lines_spend_bytes() {
        let mut allowance = Allowance::full(Instant::now());
        let taken = (0..100_000).take_while(|_| allowance.take(16 * 1024)).count();
        assert_eq!(taken, 256);
    }
}
