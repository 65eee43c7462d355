//! The `plugmesh` command: everything it does is in [`plugmesh_host::cli`].

use std::process::ExitCode;

/// Calls through the gateway are many small allocations on few threads, which this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    plugmesh_host::cli::main()
}
