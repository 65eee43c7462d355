//! What events cost: through the bus of a host, and through nats-server, with the same load. `docs/performance.md` says how it is
//! measured.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod backlog;
mod bus;
mod cells;
mod durable;
mod flow;
mod nats;
mod role;
mod round_trip;
mod targets;

use std::process::ExitCode;

use plugmesh_benches::args::Args;
use plugmesh_benches::cell::Cell;
use plugmesh_benches::{BoxError, subject};

fn main() -> ExitCode {
    subject::main("events", role::Role::run, benchmark)
}

fn benchmark(args: Args) -> Result<ExitCode, BoxError> {
    let targets = targets::targets();
    let needed = |cell: &Cell| !args.check || targets.iter().any(|t| t.cells().contains(&cell.name.as_str()));
    let mut cells = cells::all();
    cells.retain(|cell| args.wants(&cell.name) && needed(cell));
    Ok(subject::run(&args, &cells, &targets, 5))
}
