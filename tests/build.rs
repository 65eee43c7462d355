//! Compiles the protos of the test plugins with protox, so that a fresh machine needs no protoc.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    // The plugins under test are built in the profile of the tests.
    println!("cargo::rustc-env=PLUGMESH_TESTS_PROFILE={}", std::env::var("PROFILE")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("probe/v1/probe.proto")?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("tests.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().bytes(".probe").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
