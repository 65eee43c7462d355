//! The command line of every subject.

use std::time::Duration;

use crate::BoxError;

/// Help, after the subject's own line.
const HELP: &str = "
  --json         print every cell as JSON
  --check        measure what the targets need, print each target with its figure;
                 exit 1 when one falls short, 2 when one was not measured
  --quick        smoke run: one short round of each cell
  --only FILTER  only cells whose name contains FILTER; may be repeated
  --rounds N     rounds
  --seed N       seed of everything that is random
  --list         print the names of the cells";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Args {
    /// Print JSON.
    pub json: bool,
    /// Check the targets.
    pub check: bool,
    /// Smoke run.
    pub quick: bool,
    /// Print the names of the cells and nothing else.
    pub list: bool,
    /// Parts of names of cells; empty for all.
    pub only: Vec<String>,
    /// Rounds, if somebody said how many.
    pub rounds: Option<usize>,
    /// Seed of everything that is random, if somebody gave one.
    pub seed: Option<u64>,
}

/// What the command line comes to.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// Run.
    Run(Args),
    /// Print this and end well: help was asked for, or `cargo test` runs every target.
    Say(String),
}

impl Args {
    /// Reads the arguments that follow the name of the program.
    ///
    /// # Errors
    /// An argument is unknown, or its value is missing.
    pub fn parse(subject: &str, args: impl IntoIterator<Item = String>) -> Result<Parsed, BoxError> {
        let mut parsed = Self {
            json: false,
            check: false,
            quick: false,
            list: false,
            only: Vec::new(),
            rounds: None,
            seed: None,
        };
        let mut bench = false;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                // Cargo adds it when it runs benchmarks, and leaves it out when it runs tests.
                "--bench" => bench = true,
                "--json" => parsed.json = true,
                "--check" => parsed.check = true,
                "--quick" => parsed.quick = true,
                "--list" => parsed.list = true,
                "--only" => parsed.only.push(value()?),
                "--rounds" => {
                    parsed.rounds = Some(value()?.parse().map_err(|_| "--rounds wants a number")?);
                }
                "--seed" => parsed.seed = Some(value()?.parse().map_err(|_| "--seed wants a number")?),
                "--help" | "-h" => return Ok(Parsed::Say(format!("cargo bench --bench {subject} --{HELP}"))),
                other => return Err(format!("unknown argument {other:?}; --help lists them").into()),
            }
        }
        if !bench {
            let text = format!("a benchmark, not a test: cargo bench --bench {subject} runs it");
            return Ok(Parsed::Say(text));
        }
        Ok(Parsed::Run(parsed))
    }

    /// Whether a cell of this name is wanted.
    pub fn wants(&self, cell: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| cell.contains(part))
    }

    /// How long a cell runs before and while it is measured.
    pub fn span(&self) -> Span {
        match self.quick {
            true => Span { warm_up: Duration::from_millis(20), measured: Duration::from_millis(80) },
            false => Span { warm_up: Duration::from_millis(200), measured: Duration::from_millis(800) },
        }
    }
}

/// How long a cell runs.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// Before anything is counted.
    pub warm_up: Duration,
    /// While it is.
    pub measured: Duration,
}
