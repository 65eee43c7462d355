//! How long calls take, by the status that they end with.

use std::sync::OnceLock;
use std::time::Duration;

use tonic::Code;

use super::latency::LatencyHistogram;

/// Status codes there are.
const CODES: usize = 17;

/// A histogram for each status: most methods see two or three of them, and only those take memory.
#[derive(Debug, Default)]
pub(crate) struct LatencyByCode([OnceLock<Box<LatencyHistogram>>; CODES]);

impl LatencyByCode {
    /// A call has ended.
    pub(crate) fn record(&self, code: Code, took: Duration) {
        if let Some(histogram) = self.0.get(code as usize) {
            histogram.get_or_init(|| Box::new(LatencyHistogram::new())).record(took);
        }
    }

    /// Calls that ended with `code`; `None` when there were none.
    pub(crate) fn of(&self, code: Code) -> Option<&LatencyHistogram> {
        Some(self.0.get(code as usize)?.get()?)
    }

    /// Those that have occurred.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Code, &LatencyHistogram)> {
        let codes = (0..).map(Code::from_i32);
        codes.zip(&self.0).filter_map(|(code, histogram)| Some((code, &**histogram.get()?)))
    }
}
