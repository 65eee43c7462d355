//! What a call costs: through the mesh, through a plain tonic client, through the gateway and its peers, and without
//! leaving the process. `docs/performance.md` says how to read it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod cells;
mod client;
mod cold_start;
mod gateway;
mod hop;
mod in_process;
mod memory;
mod mesh;
mod place;
mod plain;
mod role;
mod server;
mod targets;

use std::process::ExitCode;

use plugmesh_benches::args::Args;
use plugmesh_benches::cell::Cell;
use plugmesh_benches::{BoxError, subject};

/// Rounds, unless somebody says how many.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    subject::main("call", role::Role::run, benchmark)
}

fn benchmark(args: Args) -> Result<ExitCode, BoxError> {
    let targets = targets::targets();
    let needed = |cell: &Cell| !args.check || targets.iter().any(|t| t.cells().contains(&cell.name.as_str()));
    let smoke = |cell: &Cell| !args.quick || !args.only.is_empty() || cells::is_smoke(&cell.name);
    let mut cells = cells::all();
    cells.retain(|cell| args.wants(&cell.name) && needed(cell) && smoke(cell));
    Ok(subject::run(&args, &cells, &targets, ROUNDS))
}
