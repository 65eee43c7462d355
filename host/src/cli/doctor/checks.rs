//! Everything that is looked at.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use crate::config::dependency::{self, DependencyError};
use crate::config::{
    Config, ConfigError, Found, Manifest, PluginConfig, PluginOptions, ProcessConfig, Program, Source,
    find_program, missing_tools,
};
use crate::launch::diagnose::{Diagnosis, inspect};
use crate::name::PluginName;

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
pub(super) fn all(found: Found, path: &OsStr) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut plugins: Vec<PluginConfig> = Vec::new();
    for (file, read) in found.manifests {
        match read {
            Ok(manifest) => {
                let first = plugins.iter().find(|plugin| plugin.name == manifest.name);
                let first = first.and_then(|plugin| plugin.manifest.clone());
                let plugin = effective(manifest);
                reports.push(look(&file, &plugin, first, path));
                plugins.push(plugin);
            }
            Err(error) => reports.push(unreadable(&file, &error)),
        }
    }
    for problem in &dependency::plan(&plugins).problems {
        for name in blamed(problem) {
            let of_name = reports.iter_mut().filter(|report| report.name == name.as_str());
            of_name.for_each(|report| report.add("requires", Verdict::Wrong, problem.to_string(), None));
        }
    }
    reports
}

/// The manifest alone: what `plugmesh.yaml` says over it is not looked at.
fn effective(manifest: Manifest) -> PluginConfig {
    PluginConfig::from_manifest(manifest, &PluginOptions::default(), &Config::default())
}

fn blamed(problem: &DependencyError) -> &[PluginName] {
    match problem {
        DependencyError::Missing { plugin, .. }
        | DependencyError::Disabled { plugin, .. }
        | DependencyError::Version { plugin, .. }
        | DependencyError::Blocked { plugin, .. } => std::slice::from_ref(plugin),
        DependencyError::Cycle(cycle) => cycle.members(),
    }
}

fn unreadable(file: &Path, error: &ConfigError) -> Report {
    let folder = file.parent().and_then(Path::file_name).unwrap_or(file.as_os_str());
    let name = folder.to_string_lossy().into_owned();
    let mut report = Report { name, manifest: file.to_owned(), findings: Vec::new() };
    for fault in error.faults() {
        report.add("manifest", Verdict::Wrong, fault.to_string(), None);
    }
    report
}

fn look(file: &Path, plugin: &PluginConfig, first: Option<PathBuf>, path: &OsStr) -> Report {
    let mut report =
        Report { name: plugin.name.to_string(), manifest: file.to_owned(), findings: Vec::new() };
    match first {
        None => report.add("manifest", Verdict::Fine, "can be read", None),
        Some(other) => {
            let text = format!("{} has the same name", other.display());
            report.add("manifest", Verdict::Wrong, text, Some("give each plugin a name of its own".into()));
        }
    }
    let missing = missing_tools(&plugin.needs, path);
    for tool in &plugin.needs {
        match missing.contains(&tool.as_str()) {
            false => report.add("tool", Verdict::Fine, tool, None),
            true => {
                let next = format!("install {tool}; until then the plugin is skipped");
                report.add("tool", Verdict::Wrong, format!("{tool} is not on PATH"), Some(next));
            }
        }
    }
    if let Source::Process(process) = &plugin.source {
        program(process, path, &mut report);
    }
    if let Some(descriptors) = &plugin.descriptor_set
        && let Err(error) = std::fs::File::open(descriptors)
    {
        report.add("descriptors", Verdict::Wrong, format!("{}: {error}", descriptors.display()), None);
    }
    report
}

fn program(process: &ProcessConfig, path: &OsStr, report: &mut Report) {
    if !process.dir.is_dir() {
        report.add("directory", Verdict::Wrong, format!("{} is no directory", process.dir.display()), None);
    }
    let unbuilt = build(process, report);
    let file = match &process.command.program {
        Program::File(file) => file.clone(),
        Program::OnPath(name) => match find_program(name, path) {
            Some(file) => file,
            None => {
                let next = format!("install {name}, or name the file with a path such as ./{name}");
                report.add("command", Verdict::Wrong, format!("{name} is not on PATH"), Some(next));
                return;
            }
        },
    };
    match inspect(&file) {
        Ok(()) => {
            let command = process.command.to_string();
            let text = command.replacen(&*file.to_string_lossy(), &tidy(&file), 1);
            report.add("command", Verdict::Fine, text, None);
        }
        // The build makes it; until it has run nothing more can be said.
        Err(Diagnosis::Missing { .. }) if unbuilt => {}
        Err(diagnosis) => report.add("command", Verdict::Wrong, diagnosis.to_string(), None),
    }
}

/// Whether what the build makes is missing: then what is missing later may only be unbuilt.
fn build(process: &ProcessConfig, report: &mut Report) -> bool {
    let Some(build) = &process.build else { return false };
    match build.outputs.iter().find(|output| !output.exists()) {
        Some(missing) => {
            let text = format!("{} is not built yet", tidy(missing));
            let next = "`plugmesh serve` builds it at the first start".to_owned();
            report.add("build", Verdict::Notice, text, Some(next));
            true
        }
        None => {
            report.add("build", Verdict::Fine, "its outputs are there", None);
            false
        }
    }
}

/// A path without detours, for people: as much of it as exists may be spelled out.
fn tidy(path: &Path) -> String {
    if !path.components().any(|part| part == Component::ParentDir) {
        return path.to_string_lossy().into_owned();
    }
    let real = path.ancestors().skip(1).find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        // What does not exist cannot be told from a link, so `..` in it stays.
        above.canonicalize().ok().map(|above| above.join(rest))
    });
    real.unwrap_or_else(|| path.to_owned()).to_string_lossy().into_owned()
}
