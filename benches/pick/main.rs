//! What choosing an endpoint costs as there are more of them, and while they change: in-process calls, whose cost
//! apart from the choice is the same for any number. `docs/performance.md` says how to read it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod changes;
mod picks;

use std::process::ExitCode;

use plugmesh_benches::allocator::Allocator;
use plugmesh_benches::args::Args;
use plugmesh_benches::cell::{Cell, Metric};
use plugmesh_benches::process::{Cpus, Process};
use plugmesh_benches::target::{Bound, Figure, Target};
use plugmesh_benches::{BoxError, subject};

/// Rounds, unless somebody says how many.
const ROUNDS: usize = 5;

const ENDPOINTS: [u32; 4] = [1, 10, 100, 1000];

fn main() -> ExitCode {
    subject::main("pick", |spec: picks::Spec| picks::run(&spec), benchmark)
}

fn benchmark(args: Args) -> Result<ExitCode, BoxError> {
    let mut cells = cells();
    cells.retain(|cell| args.wants(&cell.name));
    Ok(subject::run(&args, &cells, &targets(), ROUNDS))
}

fn name(policy: &str, endpoints: u32, changing: bool) -> String {
    let changing = if changing { "changing" } else { "still" };
    format!("pick/{policy}/{endpoints}/{changing}")
}

/// Names of the policies.
fn policies() -> impl Iterator<Item = String> {
    picks::POLICIES.into_iter().map(|policy| policy.to_string())
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for policy in policies() {
        for changing in [false, true] {
            for endpoints in ENDPOINTS {
                let spec = move |policy, span| picks::Spec { policy, endpoints, changing, span };
                cells.push(Cell {
                    name: name(&policy, endpoints, changing),
                    reference: Some(name(&policy, 1, false)),
                    run: Box::new({
                        let policy = policy.clone();
                        move |span| {
                            let spec = spec(policy.clone(), span);
                            let mut process = Process::role(&spec, Cpus::All, Allocator::Mimalloc)?;
                            let figures: Vec<(Metric, f64)> = process.json()?;
                            Ok(figures.into_iter().collect())
                        }
                    }),
                });
            }
        }
    }
    cells
}

/// A choice among 1000 must not cost noticeably more than one among 10. The whole call is compared, since
/// nothing less is public.
fn targets() -> Vec<Target> {
    let target = |policy: String| Target {
        what: format!("{policy}: a call with 1000 endpoints, of one with 10"),
        figure: Figure::Ratio {
            cell: name(&policy, 1000, false),
            reference: name(&policy, 10, false),
            metric: Metric::Pick,
        },
        bound: Bound::AtMost(1.5),
    };
    policies().map(target).collect()
}
