//! The `main` of every subject.

use std::process::ExitCode;

use serde::de::DeserializeOwned;

use crate::args::{Args, Parsed};
use crate::cell::{Cell, Results};
use crate::target::Target;
use crate::{BoxError, process, report};

/// Does what this process is there for: `act` in one of the roles that the benchmark gives to its processes, else the
/// benchmark itself. Errors go to standard error, with their causes.
pub fn main<R: DeserializeOwned>(
    subject: &str,
    act: impl FnOnce(R) -> Result<(), BoxError>,
    benchmark: impl FnOnce(Args) -> Result<ExitCode, BoxError>,
) -> ExitCode {
    let result = match process::enter::<R>() {
        Ok(Some(role)) => act(role).map(|()| ExitCode::SUCCESS),
        Ok(None) => measure(subject, benchmark),
        Err(error) => Err(error),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{subject}: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

fn measure(
    subject: &str,
    benchmark: impl FnOnce(Args) -> Result<ExitCode, BoxError>,
) -> Result<ExitCode, BoxError> {
    match Args::parse(subject, std::env::args().skip(1))? {
        Parsed::Run(args) => benchmark(args),
        Parsed::Say(text) => {
            println!("{text}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Measures `cells` as the arguments say, for `rounds` unless they say how many, and prints what they ask for: the names, a
/// table, JSON, or `targets` with the verdict as the exit code.
pub fn run(args: &Args, cells: &[Cell], targets: &[Target], rounds: usize) -> ExitCode {
    if args.list {
        cells.iter().for_each(|cell| println!("{}", cell.name));
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = args.seed {
        fastrand::seed(seed);
    }
    let rounds = if args.quick { 1 } else { args.rounds.unwrap_or(rounds) };
    let results = Results::measure(cells, rounds, args.span());
    if args.json {
        report::print_json(cells, &results);
    } else if !args.check {
        report::print_table(cells, &results);
    }
    if args.check {
        return ExitCode::from(report::print_targets(targets, &results));
    }
    if results.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
