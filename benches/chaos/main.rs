//! What a failing instance costs its callers: through the mesh, and through tonic's own balancing channel.
//! `docs/performance.md` says how it is measured.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod cells;
mod client;
mod contestant;
mod control;
mod mesh;
mod plain;
mod plan;
mod plugin;
mod role;
mod scenario;
mod table;
mod targets;

use std::process::ExitCode;

use plugmesh_benches::args::Args;
use plugmesh_benches::cell::{Cell, Results};
use plugmesh_benches::{BoxError, report, subject};

use crate::contestant::Contestant;
use crate::plan::{Plan, SEED};

/// Rounds that targets are checked with. They are multiples of an undisturbed tail, and a machine that stands still in
/// just that cell would flatter all others.
const CHECKED: usize = 3;

fn main() -> ExitCode {
    subject::main("chaos", role::Role::run, benchmark)
}

fn benchmark(args: Args) -> Result<ExitCode, BoxError> {
    let plan = Plan::new(args.seed.unwrap_or(SEED), args.quick);
    let targets = targets::targets();
    let needed = |cell: &Cell| !args.check || targets.iter().any(|t| t.cells().contains(&cell.name.as_str()));
    let mut cells = cells::all(plan);
    let plays = |cell: &Cell| !Contestant::is_left_out(&cell.name, &args.only);
    cells.retain(|cell| args.wants(&cell.name) && needed(cell) && plays(cell));
    if args.list {
        cells.iter().for_each(|cell| println!("{}", cell.name));
        return Ok(ExitCode::SUCCESS);
    }
    // To the terminal beside JSON too, which goes to standard output alone.
    eprintln!("{}", plan.describe());
    fastrand::seed(plan.seed);
    let rounds = if args.check && !args.quick { CHECKED } else { 1 };
    let results = Results::measure(&cells, args.rounds.unwrap_or(rounds), args.span());
    if args.json {
        report::print_json(&cells, &results);
    } else if !args.check {
        table::print(&results);
    }
    if args.check {
        return Ok(ExitCode::from(report::print_targets(&targets, &results)));
    }
    Ok(if results.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
