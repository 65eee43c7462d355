//! A process of a round.

use std::process::ExitCode;

fn main() -> ExitCode {
    match plugmesh_crash::role::run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crash-participant: {error}");
            ExitCode::FAILURE
        }
    }
}
