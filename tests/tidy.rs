//! House rules, as a test: what prose alone would not keep.
//!
//! Files are those that git tracks or would track; outside a checkout, everything below the root.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in what they share")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Lines of a Rust file. Aim for 150.
const MAX_LINES: usize = 500;

/// Folders that hold no sources, where git cannot say so.
const NO_SOURCES: [&str; 5] = ["target", "node_modules", "__pycache__", "generated", "venv"];

/// A file as the rules see it.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// `path:line` of every line that `is_bad` rejects.
    fn lines(&self, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
        let numbered = (1..).zip(self.text.lines());
        numbered
            .filter(|(_, line)| is_bad(line))
            .map(|(number, _)| format!("{}:{number}", self.path))
            .collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files() -> Vec<File> {
    let root = root();
    let read = |path: String| {
        let bytes = std::fs::read(root.join(&path)).ok()?;
        Some(File { path, text: String::from_utf8(bytes).ok()? })
    };
    let files: Vec<_> =
        listed_by_git(&root).unwrap_or_else(|| walked(&root)).into_iter().filter_map(read).collect();
    assert!(files.len() > 100, "only {} files were found", files.len());
    files
}

#[allow(clippy::disallowed_methods, reason = "a test asks git; nothing is left running")]
fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.output().ok().filter(|output| root.join(".git").exists() && output.status.success())?;
    let listed = String::from_utf8(output.stdout).ok()?;
    Some(listed.split_terminator('\0').map(str::to_owned).collect())
}

fn walked(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !name.starts_with('.') && !NO_SOURCES.contains(&&*name) {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found
}

/// Fails with every place that breaks the rule.
fn keep(rule: &str, broken: Vec<String>) {
    let list = broken.iter().fold(String::new(), |mut list, place| {
        let _ = write!(list, "\n  {place}");
        list
    });
    assert!(broken.is_empty(), "{rule}{list}");
}

#[test]
fn no_rust_file_is_long() {
    let lengths =
        files().into_iter().filter(|file| file.is("rs")).map(|file| (file.text.lines().count(), file.path));
    let long =
        lengths.filter(|(lines, _)| *lines > MAX_LINES).map(|(lines, path)| format!("{path}: {lines}"));
    keep(
        "a Rust file has 500 lines at most: split it by concern, or move its tests to foo/tests.rs",
        long.collect(),
    );
}

#[test]
fn modules_are_named_after_themselves() {
    let files = files().into_iter().filter(|file| file.name() == "mod.rs").map(|file| file.path);
    keep("a module is foo.rs beside foo/, never mod.rs", files.collect());
}

#[test]
fn crate_roots_are_maps() {
    let starts =
        ["fn ", "async fn ", "impl ", "impl<", "struct ", "enum ", "trait ", "static ", "macro_rules!"];
    let is_logic =
        |line: &str| starts.iter().any(|start| line.strip_prefix("pub ").unwrap_or(line).starts_with(start));
    let roots = files().into_iter().filter(|file| file.name() == "lib.rs");
    keep(
        "a crate root holds docs, modules and re-exports only",
        roots.flat_map(|root| root.lines(is_logic)).collect(),
    );
}

#[test]
fn unsafe_code_is_in_its_place() {
    // Split, so that this file does not break the rule.
    let allowance = concat!("allow(", "unsafe_code)");
    let files = files().into_iter().filter(|file| file.is("rs"));
    let elsewhere = files.filter(|file| !file.path.contains("/os/"));
    let places = elsewhere.flat_map(|file| file.lines(|line| line.contains(allowance)));
    // A benchmark counts allocations, and a plugin takes over an inherited descriptor.
    let known = ["benches/src/allocator.rs", "plugin-sdk/src/lifeline.rs"];
    let unknown = places.filter(|place| !known.iter().any(|known| place.starts_with(known)));
    keep("unsafe code lives in the os modules", unknown.collect());
}

#[test]
fn nothing_is_left_for_somebody() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    // With an owner, as in MARK(name), it is a plan.
    let is_bare = |line: &str| {
        let words = |mark| line.split(|c: char| !c.is_alphanumeric() && c != '(').any(|word| word == mark);
        marks.into_iter().any(words)
    };
    keep(
        "finish it, or name an owner in brackets",
        files().iter().flat_map(|file| file.lines(is_bare)).collect(),
    );
}

#[test]
fn every_proto_of_the_contract_serves_every_language() {
    let options = ["go_package", "java_package", "csharp_namespace"];
    let protos = files().into_iter().filter(|file| file.path.starts_with("proto/") && file.is("proto"));
    let missing = protos.flat_map(|file| {
        let lacks = |option: &&&str| !file.text.contains(&format!("\noption {option} = "));
        options.iter().filter(lacks).map(|option| format!("{}: {option}", file.path)).collect::<Vec<_>>()
    });
    keep("each file of the contract has the options of other languages", missing.collect());
}

#[test]
fn versions_and_features_are_chosen_in_one_place() {
    let manifests =
        files().into_iter().filter(|file| file.name() == "Cargo.toml" && file.path != "Cargo.toml");
    let mut broken = Vec::new();
    for file in manifests {
        let mut in_dependencies = false;
        for (number, line) in (1..).zip(file.text.lines()) {
            if line.starts_with('[') {
                in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
            } else if in_dependencies && !line.is_empty() && !line.starts_with('#') {
                // Paused time is wanted in tests, and costs nobody else a second build of tokio.
                let features = line.contains("features") && !line.contains(r#"features = ["test-util"]"#);
                if features || !(line.ends_with(".workspace = true") || line.contains("{ workspace = true,"))
                {
                    broken.push(format!("{}:{number}", file.path));
                }
            }
        }
    }
    keep("versions and features of dependencies stand in the root manifest only", broken);
}

#[test]
fn no_file_knows_one_machine() {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "wt")];
    let is_bad = |line: &str| places.iter().any(|place| line.contains(place));
    keep("paths of one machine", files().iter().flat_map(|file| file.lines(is_bad)).collect());
}

#[test]
fn text_files_are_clean() {
    let kinds = ["rs", "md", "toml", "proto", "yaml", "py", "sh"];
    let files = files().into_iter().filter(|file| kinds.iter().any(|kind| file.is(kind)));
    let broken = files.flat_map(|file| {
        let mut broken = file.lines(|line| line.ends_with([' ', '\t', '\r']));
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            broken.push(format!("{}: no line break at its end", file.path));
        }
        broken
    });
    keep("no trailing white space, and a line break at the end", broken.collect());
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    let files = files();
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        let folder = root().join(&file.path).parent().unwrap().to_owned();
        for link in links(&file.text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(&file.path) } else { folder.join(path) };
            let has_anchor = || {
                let text = std::fs::read_to_string(&target).unwrap_or_default();
                text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor)
            };
            if !target.exists() || !(anchor.is_empty() || has_anchor()) {
                broken.push(format!("{}: {link}", file.path));
            }
        }
    }
    keep("links to files and headings that are not there", broken);
}

#[test]
fn code_in_the_readme_is_compiled() {
    let files = files();
    let readme = files.iter().find(|file| file.path == "README.md").unwrap();
    let blocks = readme.text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let is_somewhere = |block: &str| files.iter().any(|file| file.is("rs") && file.text.contains(block));
    let loose = blocks.filter(|block| !is_somewhere(block)).map(str::to_owned);
    keep("Rust code in the README is part of a file that is compiled, as it stands", loose.collect());
}

/// Targets of Markdown links that are not on the web.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| {
        !target.contains("://") && !target.starts_with("mailto:") && !target.contains([' ', '`', '\n'])
    })
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}
