//! A cell, and the rounds that run all cells.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::BoxError;
use crate::args::Span;

/// What a cell measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Median latency, µs.
    P50,
    /// 99th percentile of the latency, µs.
    P99,
    /// Calls a second.
    Rate,
    /// Events a second.
    Events,
    /// CPU of the client, µs a call.
    ClientCpu,
    /// CPU of the server, µs a call.
    ServerCpu,
    /// CPU of what stands between them, µs a call.
    HopCpu,
    /// Time of one call where calls follow each other, µs.
    Call,
    /// From the spawn to the first answer, ms.
    ColdStart,
    /// Resident memory, KiB: of a host with one endpoint, or with events that wait.
    Resident,
    /// Resident memory that each of the first 100 endpoints adds, KiB.
    PerEndpoint100,
    /// Resident memory that each of 1000 endpoints adds, KiB.
    PerEndpoint1000,
    /// Time of one call to an endpoint that is chosen for it, ns.
    Pick,
    /// 99.9th percentile of the time of 16 such calls, µs.
    Stall,
    /// Calls that were made.
    Sent,
    /// Idempotent calls among them that were not answered.
    LostIdempotent,
    /// Other calls that were not answered.
    LostOther,
    /// Calls that are not idempotent and were executed more than once.
    ExecutedTwice,
    /// Idempotent calls that were executed more than once.
    Repeated,
    /// Attempts that arrived at instances beyond the first of each call.
    ExtraAttempts,
    /// Median latency, ms.
    Median,
    /// 99th percentile of the latency, ms.
    Tail,
    /// 99.9th percentile of the latency, ms.
    FarTail,
    /// From the disturbance until traffic had left the instance that was hit, ms.
    Left,
    /// Share of all CPUs that client and instances used.
    Busy,
    /// The longest that a call was made after it was due, ms.
    Lag,
}

impl Metric {
    /// Title of its column.
    pub fn title(self) -> &'static str {
        match self {
            Self::P50 => "p50 µs",
            Self::P99 => "p99 µs",
            Self::Rate => "calls/s",
            Self::Events => "events/s",
            Self::ClientCpu => "client µs/call",
            Self::ServerCpu => "server µs/call",
            Self::HopCpu => "hop µs/call",
            Self::Call => "µs/call",
            Self::ColdStart => "start ms",
            Self::Resident => "RSS KiB",
            Self::PerEndpoint100 => "KiB each of 100",
            Self::PerEndpoint1000 => "KiB each of 1000",
            Self::Pick => "ns/call",
            Self::Stall => "p99.9 of 16, µs",
            Self::Sent => "sent",
            Self::LostIdempotent => "lost idem.",
            Self::LostOther => "lost other",
            Self::ExecutedTwice => "twice",
            Self::Repeated => "repeated",
            Self::ExtraAttempts => "extra",
            Self::Median => "p50 ms",
            Self::Tail => "p99 ms",
            Self::FarTail => "p99.9 ms",
            Self::Left => "left after ms",
            Self::Busy => "CPU share",
            Self::Lag => "lag ms",
        }
    }
}

/// What one run of a cell gave.
pub type Sample = BTreeMap<Metric, f64>;

/// Why a cell gave nothing.
#[derive(Debug)]
pub enum Missing {
    /// It cannot be measured here: say what is missing.
    Skipped(String),
    /// It went wrong.
    Failed(BoxError),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

impl<E: Into<BoxError>> From<E> for Missing {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Something that is measured in processes of its own.
pub struct Cell {
    /// Unique; parts are separated by `/`, from the general to the special.
    pub name: String,
    /// The cell whose figures this one's are compared with.
    pub reference: Option<String>,
    /// Runs it once.
    pub run: Box<dyn Fn(Span) -> Result<Sample, Missing>>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("name", &self.name).finish()
    }
}

/// What the rounds gave: for each cell, a sample or nothing for each round.
#[derive(Debug, Default)]
pub struct Results {
    rounds: usize,
    samples: BTreeMap<String, Vec<Option<Sample>>>,
    missing: BTreeMap<String, String>,
    failed: bool,
}

impl Results {
    /// Runs every cell once a round, in an order shuffled anew each time, so that whatever else the machine
    /// does meets all cells alike.
    pub fn measure(cells: &[Cell], rounds: usize, span: Span) -> Self {
        let mut results = Self { rounds, ..Self::default() };
        let mut order: Vec<&Cell> = cells.iter().collect();
        for round in 0..rounds {
            fastrand::shuffle(&mut order);
            for (index, cell) in order.iter().enumerate() {
                let before = format!("round {}/{rounds}, cell {}/{}", round + 1, index + 1, order.len());
                eprint!("\r\x1b[K{before}: {}", cell.name);
                let sample = results.run(cell, span);
                results.samples.entry(cell.name.clone()).or_default().push(sample);
            }
        }
        eprint!("\r\x1b[K");
        results
    }

    fn run(&mut self, cell: &Cell, span: Span) -> Option<Sample> {
        match (cell.run)(span) {
            Ok(sample) => Some(sample),
            Err(missing) => {
                self.failed |= matches!(missing, Missing::Failed(_));
                self.missing.insert(cell.name.clone(), missing.to_string());
                None
            }
        }
    }

    /// Why cells gave nothing in a round, by name.
    pub fn missing(&self) -> &BTreeMap<String, String> {
        &self.missing
    }

    /// Whether a cell went wrong, as opposed to being skipped.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Names of the cells that ran.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }

    /// One figure of one cell, for each round.
    pub fn figures(&self, cell: &str, metric: Metric) -> Vec<Option<f64>> {
        match self.samples.get(cell) {
            Some(rounds) => rounds.iter().map(|sample| sample.as_ref()?.get(&metric).copied()).collect(),
            None => vec![None; self.rounds],
        }
    }

    /// What a cell measures, in order.
    pub fn metrics(&self, cell: &str) -> Vec<Metric> {
        let rounds = self.samples.get(cell).into_iter().flatten().flatten();
        let mut metrics: Vec<Metric> = rounds.flat_map(|sample| sample.keys().copied()).collect();
        metrics.sort_unstable();
        metrics.dedup();
        metrics
    }
}
