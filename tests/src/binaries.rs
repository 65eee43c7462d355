//! The programs under test.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Path of a binary of this workspace. The first call builds all of them: `cargo test` alone does not.
pub fn binary(name: &str) -> &'static Path {
    static ALL: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let all = ALL.get_or_init(|| build(&["--bins"]));
    all.get(name).unwrap_or_else(|| panic!("no binary {name} among {:?}", all.keys()))
}

/// Path of the `plugmesh` command with NATS, which the first call builds.
pub fn binary_with_nats() -> &'static Path {
    const NAME: &str = "plugmesh-nats";
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let built = build(&["--bin", NAME, "--features", "plugmesh-tests/nats"]);
        built.get(NAME).unwrap_or_else(|| panic!("no {NAME} among {:?}", built.keys())).clone()
    })
}

/// Builds what cargo is told, always of the whole workspace: of a part of it, it would compile others with other features.
fn build(what: &[&str]) -> HashMap<String, PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--workspace", "--message-format=json-render-diagnostics"]).args(what);
    if env!("PLUGMESH_TESTS_PROFILE") == "release" {
        cargo.arg("--release");
    }
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // What cargo sets for tests would be new to a build script that looks at it, and build that again.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
        cargo.env_remove(name);
    }
    let output = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(output.status.success(), "the binaries under test do not build");
    let lines = String::from_utf8(output.stdout).expect("cargo writes JSON");
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages
        .filter_map(|message| {
            let executable = message["executable"].as_str()?;
            Some((message["target"]["name"].as_str()?.to_owned(), executable.into()))
        })
        .collect()
}
