//! Compiles the protos of the test plugins with protox, so that a fresh machine needs no protoc.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    // The plugins under test are built in the profile of the tests.
    println!("cargo::rustc-env=PLUGMESH_TESTS_PROFILE={}", std::env::var("PROFILE")?);
    let probe = compile("probe", &["probe/v1/probe.proto"])?;
    tonic_prost_build::configure().bytes(".probe").compile_fds(probe)?;
    let interop = compile("interop", &["grpc/testing/test.proto", "xds/service/orca/v3/orca.proto"])?;
    // One module for each part of a package's name: packages refer to each other by their places.
    tonic_prost_build::configure().bytes(".").include_file("interop.rs").compile_fds(interop)?;
    Ok(())
}

/// Gives the descriptors, and leaves them in a file for reflection.
fn compile(
    name: &str,
    protos: &[&str],
) -> Result<prost_types::FileDescriptorSet, Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(protos)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join(name).with_extension("bin");
    std::fs::write(out, compiler.encode_file_descriptor_set())?;
    Ok(compiler.file_descriptor_set())
}
