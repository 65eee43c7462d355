//! The `plugmesh` command, built with NATS.

use std::process::ExitCode;

fn main() -> ExitCode {
    plugmesh_host::cli::main()
}
