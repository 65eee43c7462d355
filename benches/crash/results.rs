//! What all rounds came to.

use std::time::{Duration, Instant};

use plugmesh_benches::BoxError;
use plugmesh_crash::round::{Counts, Outcome};
use serde_json::{Value, json};

/// What all rounds came to.
#[derive(Debug)]
pub(crate) struct Results {
    first_seed: u64,
    rounds: u64,
    began: Instant,
    done: u64,
    counts: Counts,
    took: Vec<Duration>,
    failed: Vec<Outcome>,
    /// Why rounds could not be run.
    errors: Vec<String>,
}

impl Results {
    pub(crate) fn new(first_seed: u64, rounds: u64) -> Self {
        Self {
            first_seed,
            rounds,
            began: Instant::now(),
            done: 0,
            counts: Counts::default(),
            took: Vec::new(),
            failed: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Adds a round, and says how far it has come.
    pub(crate) fn add(&mut self, outcome: Result<Outcome, BoxError>) {
        match outcome {
            Ok(outcome) => {
                self.done += 1;
                self.counts += outcome.counts;
                self.took.push(outcome.took);
                if !outcome.problems.is_empty() {
                    eprintln!("\r\x1b[K{}", describe(&outcome));
                    self.failed.push(outcome);
                }
            }
            Err(error) => self.errors.push(error.to_string()),
        }
        let (failed, errors) = (self.failed.len(), self.errors.len());
        eprint!("\r\x1b[K{} of {} rounds, {failed} failed, {errors} not run", self.done, self.rounds);
    }

    /// Every round was run, and nothing was wrong.
    pub(crate) fn is_sound(&self) -> bool {
        self.failed.is_empty() && self.errors.is_empty() && self.done == self.rounds
    }

    fn quantile(&self, share: f64) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let index = (took.len() as f64 * share) as usize;
        took.get(index.min(took.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub(crate) fn print(&self, is_check: bool) {
        eprint!("\r\x1b[K");
        let took = self.began.elapsed();
        println!(
            "{} rounds from seed {} in {:.0} s; a round p50 {:.2} s, p99 {:.2} s, longest {:.2} s",
            self.done,
            self.first_seed,
            took.as_secs_f64(),
            self.quantile(0.5).as_secs_f64(),
            self.quantile(0.99).as_secs_f64(),
            self.quantile(1.0).as_secs_f64(),
        );
        self.counts.each().iter().for_each(|(name, count)| println!("  {name:16} {count}"));
        self.failed.iter().for_each(|outcome| println!("{}", describe(outcome)));
        self.errors.iter().for_each(|error| println!("not run: {error}"));
        if is_check {
            let mark = if self.is_sound() { "ok      " } else { "SHORT   " };
            println!("{mark} rounds in which a promise was broken  ≤ 0  {}", self.failed.len());
        }
    }

    pub(crate) fn print_json(&self) {
        eprint!("\r\x1b[K");
        let failed = self.failed.iter().map(
            |outcome| json!({ "seed": outcome.seed, "problems": outcome.problems, "kept": outcome.kept }),
        );
        let failed: Vec<Value> = failed.collect();
        let counts: serde_json::Map<_, _> =
            self.counts.each().into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
        let document = json!({
            "first_seed": self.first_seed,
            "rounds": self.done,
            "seconds": self.began.elapsed().as_secs_f64(),
            "round_p50_s": self.quantile(0.5).as_secs_f64(),
            "round_p99_s": self.quantile(0.99).as_secs_f64(),
            "counts": counts,
            "failed": failed,
            "not_run": self.errors,
        });
        println!("{document:#}");
    }
}

/// A failed round, for people.
fn describe(outcome: &Outcome) -> String {
    const SHOWN: usize = 5;
    let mut text = format!("seed {} failed", outcome.seed);
    if let Some(kept) = &outcome.kept {
        text += &format!("; histories and logs are in {}", kept.display());
    }
    for problem in outcome.problems.iter().take(SHOWN) {
        text += &format!("\n  {problem}");
    }
    match outcome.problems.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text}\n  and {more} more"),
    }
}
