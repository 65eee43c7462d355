//! Compiles the services that the benchmarks call.

use std::path::Path;

/// Files of the services, each with the name of its descriptors.
const FILES: [(&str, &str); 2] =
    [("plugmesh/bench/v1/echo.proto", "echo.binpb"), ("plugmesh/chaos/v1/chaos.proto", "chaos.binpb")];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    for (file, descriptors) in FILES {
        let mut compiler = protox::Compiler::new(["proto"])?;
        compiler.include_imports(true).open_files([file])?;
        let encoded = compiler.encode_file_descriptor_set();
        std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join(descriptors), encoded)?;
        tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    }
    Ok(())
}
