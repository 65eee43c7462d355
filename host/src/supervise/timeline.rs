//! How far a start got, and when: for errors that say that time was up.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The steps of one start that are done.
#[derive(Debug)]
pub(super) struct Timeline {
    began: Instant,
    steps: Mutex<Vec<(&'static str, Duration)>>,
}

impl Timeline {
    /// Starts now.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), steps: Mutex::default() }
    }

    /// `step` is done.
    pub(super) fn done(&self, step: &'static str) {
        let after = self.began.elapsed();
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push((step, after));
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, (step, after)) in steps.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{step} after {} ms", after.as_millis())?;
        }
        Ok(())
    }
}
