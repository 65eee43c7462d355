//! Tools that not every machine has.
//!
//! A test that needs one asks [`find`] or [`require_tool`] first and returns when it is missing, which is
//! said on standard error; with `PLUGMESH_REQUIRE_TOOLS=1` a missing tool fails the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Ran;

/// Makes missing tools an error.
pub const REQUIRE: &str = "PLUGMESH_REQUIRE_TOOLS";

/// Whether the tool is there; when it is not, the test is to return.
#[must_use]
pub fn require_tool(name: &str) -> bool {
    find(name).is_some()
}

/// Where a tool is: on `PATH`, or where `go install` puts it. Says so when it is nowhere.
pub fn find(name: &str) -> Option<PathBuf> {
    let found = locate(name);
    if found.is_none() {
        missing(name);
    }
    found
}

/// As [`find`], but under the first name that is there, or the path that `variable` gives.
pub fn find_any(variable: &str, names: &[&str]) -> Option<PathBuf> {
    let given = std::env::var_os(variable).map(PathBuf::from);
    let found = given.or_else(|| names.iter().find_map(|name| locate(name)));
    if found.is_none() {
        missing(&names.join(" or "));
    }
    found
}

/// Runs grpcurl on a Unix socket.
pub async fn grpcurl_unix(socket: &Path, args: &[&str]) -> Ran {
    let mut command = grpcurl();
    // Options come first, then the address, then the symbol.
    let symbols =
        args.iter().rposition(|arg| arg.starts_with('-')).map_or(0, |at| at + value_count(args[at]));
    let (options, symbols) = args.split_at(symbols.min(args.len()));
    command.args(["-plaintext", "-unix"]).args(options).arg(socket).args(symbols);
    Ran::of(&mut command).await
}

/// grpcurl, without arguments.
pub fn grpcurl() -> Command {
    let mut command = Command::new(locate("grpcurl").expect("grpcurl; ask require_tool first"));
    command.env_remove("GRPC_PROXY_EXP");
    command
}

/// Arguments that an option of grpcurl takes, itself included.
fn value_count(option: &str) -> usize {
    match option {
        "-v" | "-vv" | "-plaintext" | "-emit-defaults" | "-format-error" => 1,
        _ => 2,
    }
}

pub(crate) fn locate(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let go = std::env::var_os("GOBIN").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("GOPATH").map(PathBuf::from);
        Some(home.unwrap_or(PathBuf::from(std::env::var_os("HOME")?).join("go")).join("bin"))
    });
    std::env::split_paths(&path).chain(go).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn missing(what: &str) {
    skipped(&format!("this test needs {what}, which is not on PATH"));
}

/// Says that the test, which is to return, does not test this for want of a tool.
pub fn skipped(text: &str) {
    assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{text}, and {REQUIRE}=1");
    // Straight to the descriptor: the test harness would swallow what is printed by a test that passes.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {text}\n").as_bytes());
}
