//! Durable events while hosts, publishers and members are killed, a great many times: `plugmesh_crash` says how, and what must hold of
//! the history of each round. `--seed S --rounds 1` runs the round of one seed again.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the terminal")]

mod results;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use plugmesh_benches::args::Args;
use plugmesh_benches::{BoxError, subject};
use plugmesh_crash::role;
use plugmesh_crash::round::{self, Programs};

use crate::results::Results;

/// Rounds, unless somebody says how many.
const ROUNDS: u64 = 2000;
const QUICK: u64 = 10;

/// The first seed, unless somebody says which.
const SEED: u64 = 1;

/// Rounds at the same time for each CPU: one waits for its clocks and disks more than it works.
const AT_ONCE: usize = 2;

/// First argument of a process that is a part of a round.
const PART: &str = "part";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        // `plugmesh serve`, as it is in the program of that name.
        Some("serve") => plugmesh_host::cli::main(),
        Some(PART) => match role::run(std::env::args().skip(2)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("crash: {error}");
                ExitCode::FAILURE
            }
        },
        _ => subject::main("crash", |()| Ok(()), benchmark),
    }
}

fn programs() -> Result<Programs, BoxError> {
    let this = std::env::current_exe()?.display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Ok(Programs { host: words(&[&this, PART, "exec", &this, "serve"]), participant: words(&[&this, PART]) })
}

fn benchmark(args: Args) -> Result<ExitCode, BoxError> {
    if args.list {
        println!("crash");
        return Ok(ExitCode::SUCCESS);
    }
    let first = args.seed.unwrap_or(SEED);
    let rounds = match (args.rounds, args.quick) {
        (Some(rounds), _) => rounds as u64,
        (None, true) => QUICK,
        (None, false) => ROUNDS,
    };
    let programs = programs()?;
    let results = Mutex::new(Results::new(first, rounds));
    let next = AtomicU64::new(0);
    let at_once = AT_ONCE * std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        return;
                    }
                    let outcome = round::run(first + round, &programs);
                    if let Ok(mut results) = results.lock() {
                        results.add(outcome);
                    }
                }
            });
        }
    });
    let results = results.into_inner()?;
    if args.json {
        results.print_json();
    } else {
        results.print(args.check);
    }
    Ok(if results.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
