//! `doctor`: what is wrong with plugins, before they run. Nothing is built or started.
//!
//! `checks` is everything that is looked at, for one plugin and among them.

mod checks;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::checks::{Finding, Report, Verdict};
use super::args::DoctorArgs;
use super::error::CliError;
use super::exit::Exit;
use super::human::{count, printable};
use super::terminal::{Terminal, Tone};
use crate::config::{Found, Manifest, search};

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoctorError {
    #[error("{0} is neither a directory nor a manifest")]
    NotFound(PathBuf),
    #[error("no plugin.yaml below {0}")]
    NoManifest(PathBuf),
}

impl DoctorError {
    /// What to do next.
    pub(crate) fn help(&self) -> String {
        "name a directory that holds plugins, each with its plugin.yaml".to_owned()
    }
}

/// Looks at every plugin below a directory.
///
/// # Errors
///
/// There is no plugin to look at.
pub(crate) fn run(args: &DoctorArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let found = find(&args.dir)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let reports = checks::all(found, &path);
    let ill = reports.iter().filter(|report| report.verdict() == Verdict::Wrong).count();
    if terminal.is_json() {
        #[derive(Serialize)]
        struct Answer<'a> {
            plugins: &'a [Report],
        }
        terminal.json(&Answer { plugins: &reports })?;
    } else {
        for report in &reports {
            show(report, terminal)?;
        }
        let paint = terminal.paint();
        let total = count(reports.len(), "plugin");
        let summary = match ill {
            0 => paint.tone(Tone::Good, format_args!("{total}: nothing is wrong")),
            _ => paint.tone(Tone::Bad, format_args!("{total}: something is wrong with {ill}")),
        };
        terminal.line(summary)?;
    }
    Ok(if ill == 0 { Exit::OK } else { Exit::FAILURE })
}

/// Every manifest in and below `dir`, or `dir` itself when it is one.
fn find(dir: &Path) -> Result<Found, DoctorError> {
    if dir.is_file() {
        return Ok(Found { manifests: vec![(dir.to_owned(), Manifest::load(dir))], ..Found::default() });
    }
    if !dir.is_dir() {
        return Err(DoctorError::NotFound(dir.to_owned()));
    }
    let found = search(&[dir]);
    if found.manifests.is_empty() { Err(DoctorError::NoManifest(dir.to_owned())) } else { Ok(found) }
}

fn show(report: &Report, terminal: &mut Terminal) -> Result<(), CliError> {
    let paint = terminal.paint();
    let file = paint.tone(Tone::Faint, format_args!("({})", printable(&report.manifest.to_string_lossy())));
    terminal.line(format_args!("{} {file}", paint.bold(printable(&report.name))))?;
    for Finding { check, verdict, text, next } in &report.findings {
        let (tone, mark) = match verdict {
            Verdict::Fine => (Tone::Good, "✓"),
            Verdict::Notice => (Tone::Notice, "!"),
            Verdict::Wrong => (Tone::Bad, "✗"),
        };
        terminal.line(format_args!("  {} {check:<12} {}", paint.tone(tone, mark), printable(text)))?;
        if let Some(next) = next {
            terminal.line(format_args!("  {:<14} → {}", "", printable(next)))?;
        }
    }
    terminal.line("")
}
