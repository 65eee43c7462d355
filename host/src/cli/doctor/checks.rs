//! Everything that is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::manifest::{self, Facts, Program};
use super::program::{self, Runnable, Unrunnable};
use crate::cli::suggest::closest;

/// What was found about one plugin.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Name; that of the directory when the manifest has none that can be read.
    pub(super) name: String,
    /// Its manifest.
    pub(super) manifest: PathBuf,
    /// In the order of what must be right first.
    pub(super) findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: &'static str,
    /// How it is.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) text: String,
    /// What to do about it.
    pub(super) next: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Fine,
    /// Worth knowing; the plugin starts nevertheless.
    Notice,
    /// The plugin does not start.
    Wrong,
}

impl Report {
    /// The worst that was found.
    pub(super) fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Fine)
    }

    fn add(&mut self, check: &'static str, verdict: Verdict, text: impl Into<String>, next: Option<String>) {
        self.findings.push(Finding { check, verdict, text: text.into(), next });
    }
}

/// Looks at every plugin, by itself and among the others.
pub(super) fn all(files: &[PathBuf], path: &OsStr) -> Vec<Report> {
    let read: Vec<_> = files.iter().map(|file| (file, manifest::read(file))).collect();
    let known: BTreeMap<&str, &Facts> = read
        .iter()
        .filter_map(|(_, facts)| facts.as_ref().ok())
        .map(|facts| (facts.name.as_str(), facts))
        .collect();
    read.iter()
        .map(|(file, facts)| match facts {
            Ok(facts) => {
                let same_name = read
                    .iter()
                    .filter(|(other, of_other)| {
                        other != file && of_other.as_ref().is_ok_and(|it| it.name == facts.name)
                    })
                    .map(|(other, _)| other.as_path())
                    .next();
                plugin(file, facts, same_name, &known, path)
            }
            Err(faults) => unreadable(file, faults),
        })
        .collect()
}

fn unreadable(file: &Path, faults: &[String]) -> Report {
    let folder = file.parent().and_then(Path::file_name).unwrap_or(file.as_os_str());
    let mut report = Report {
        name: folder.to_string_lossy().into_owned(),
        manifest: file.to_owned(),
        findings: Vec::new(),
    };
    for fault in faults {
        report.add("manifest", Verdict::Wrong, fault, None);
    }
    report
}

fn plugin(
    file: &Path,
    facts: &Facts,
    same_name: Option<&Path>,
    known: &BTreeMap<&str, &Facts>,
    path: &OsStr,
) -> Report {
    let mut report = Report { name: facts.name.clone(), manifest: file.to_owned(), findings: Vec::new() };
    match same_name {
        None => report.add("manifest", Verdict::Fine, "can be read", None),
        Some(other) => {
            let text = format!("{} has the same name", other.display());
            report.add("manifest", Verdict::Wrong, text, Some("give each plugin a name of its own".into()));
        }
    }
    for tool in &facts.needs {
        match program::on_path(tool, path) {
            Some(found) => report.add("tool", Verdict::Fine, found.display().to_string(), None),
            None => {
                let next = format!("install {tool}; until then the plugin is skipped");
                report.add("tool", Verdict::Wrong, format!("{tool} is not on PATH"), Some(next));
            }
        }
    }
    if !facts.dir.is_dir() {
        report.add("directory", Verdict::Wrong, format!("{} is no directory", facts.dir.display()), None);
    }
    let unbuilt = build(facts, &mut report);
    command(facts, unbuilt, path, &mut report);
    if let Some(descriptors) = facts.descriptor_set.as_ref().filter(|_| !unbuilt) {
        match std::fs::File::open(descriptors) {
            Ok(_) => report.add("descriptors", Verdict::Fine, descriptors.display().to_string(), None),
            Err(error) => {
                report.add(
                    "descriptors",
                    Verdict::Wrong,
                    format!("{}: {error}", descriptors.display()),
                    None,
                );
            }
        }
    }
    dependencies(facts, known, &mut report);
    report
}

/// Whether what the build makes is missing: then what is missing later may only be unbuilt.
fn build(facts: &Facts, report: &mut Report) -> bool {
    let Some(outputs) = &facts.outputs else { return false };
    match outputs.iter().find(|output| !output.exists()) {
        Some(missing) => {
            let next = "`plugmesh serve` builds it at the first start".to_owned();
            report.add(
                "build",
                Verdict::Notice,
                format!("{} is not built yet", missing.display()),
                Some(next),
            );
            true
        }
        None => {
            report.add("build", Verdict::Fine, "its outputs are there", None);
            false
        }
    }
}

fn command(facts: &Facts, unbuilt: bool, path: &OsStr, report: &mut Report) {
    let looked = match &facts.program {
        Program::File(file) => program::look(file, path),
        Program::OnPath(name) => match program::on_path(name, path) {
            Some(file) => program::look(&file, path),
            None => {
                let next = format!("install {name}, or name the file with a path such as ./{name}");
                report.add("command", Verdict::Wrong, format!("{name} is not on PATH"), Some(next));
                return;
            }
        },
    };
    let shown = match &facts.program {
        Program::File(file) => file.display().to_string(),
        Program::OnPath(name) => name.clone(),
    };
    match looked {
        Ok(Runnable::Native) => report.add("command", Verdict::Fine, shown, None),
        Ok(Runnable::Script(by)) => {
            report.add("command", Verdict::Fine, format!("{shown}, run by {}", by.display()), None)
        }
        Err(Unrunnable::Missing(_)) if unbuilt => {}
        Err(error) => {
            let next = match (&error, &facts.outputs) {
                (Unrunnable::Missing(_), None) => {
                    Some("build it, or give the manifest a `build` that does".to_owned())
                }
                (Unrunnable::Missing(_), Some(_)) => {
                    Some("its `build` does not make it: correct `build` or `command`".to_owned())
                }
                _ => error.next(),
            };
            report.add("command", Verdict::Wrong, error.to_string(), next);
        }
    }
}

fn dependencies(facts: &Facts, known: &BTreeMap<&str, &Facts>, report: &mut Report) {
    for (name, range) in &facts.requires {
        let Some(found) = known.get(name.as_str()) else {
            let next = match closest(name, known.keys().copied()) {
                Some(close) => format!("did you mean {close}?"),
                None => "add it, or look from a directory that holds both".to_owned(),
            };
            report.add("requires", Verdict::Wrong, format!("{name} is not there"), Some(next));
            continue;
        };
        match &found.version {
            Some(version) if !range.matches(version) => {
                let text = format!("{name} is {version}, and {range} is required");
                report.add("requires", Verdict::Wrong, text, None);
            }
            _ => report.add("requires", Verdict::Fine, format!("{name} {range}"), None),
        }
    }
    if let Some(circle) = circle(&facts.name, known) {
        report.add(
            "requires",
            Verdict::Wrong,
            format!("plugins require each other: {}", circle.join(" → ")),
            None,
        );
    }
}

/// The way from a plugin back to itself, if there is one.
fn circle<'a>(start: &'a str, known: &BTreeMap<&'a str, &'a Facts>) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start]];
    while let Some(way) = ways.pop() {
        let Some(facts) = way.last().and_then(|last| known.get(last)) else { continue };
        for (next, _) in &facts.requires {
            let mut longer = way.clone();
            longer.push(next);
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.as_str()) {
                ways.push(longer);
            }
        }
    }
    None
}
