//! Compiles the contract in `proto/` with protox, so that a fresh machine needs no protoc.

use std::error::Error;
use std::path::PathBuf;

use tonic_prost_build::{Builder, configure};

const EVENT: &str = "plugmesh/event/v1/event.proto";
const CLOUD_EVENTS: &str = "plugmesh/cloudevents/v1/cloudevents.proto";
const OTHERS: [&str; 2] = ["plugmesh/admin/v1/admin.proto", "plugmesh/plugin/v1/plugin.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut all = open(&[CLOUD_EVENTS, EVENT])?;
    all.open_files(OTHERS)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("plugmesh.bin"), all.encode_file_descriptor_set())?;
    // Data is not copied out of a message, and attributes are written in the same order each time.
    generate(configure().bytes(".").btree_map("."), &[CLOUD_EVENTS])?;
    // The package of the specification is a module of ours. A client's method for the RPC `Connect` would have the name of
    // the function that makes one from an address.
    let event =
        configure().extern_path(".io.cloudevents.v1", "crate::cloudevents::v1").build_transport(false);
    generate(event, &[EVENT])?;
    generate(configure(), &OTHERS)
}

fn open(files: &[&str]) -> Result<protox::Compiler, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    Ok(compiler)
}

fn generate(builder: Builder, files: &[&str]) -> Result<(), Box<dyn Error>> {
    Ok(builder.compile_fds(open(files)?.file_descriptor_set())?)
}
