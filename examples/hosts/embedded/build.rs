//! Compiles the program's own proto and those of the plugins that it calls, with protox, so that a fresh
//! machine needs no protoc.

const FOLDERS: [&str; 3] = ["proto", "../../plugins/calculator/proto", "../../plugins/text/proto"];
const PROTOS: [&str; 3] = ["notes/v1/notes.proto", "calculator/v1/calculator.proto", "text/v1/text.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for folder in FOLDERS {
        println!("cargo::rerun-if-changed={folder}");
    }
    tonic_prost_build::configure().compile_fds(protox::compile(PROTOS, FOLDERS)?)?;
    Ok(())
}
