//! What the checks need to know of a manifest.

use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode as _, Yaml};
use semver::{Version, VersionReq};

use super::DoctorError;

/// What a manifest is called.
const MANIFEST_FILE: &str = "plugin.yaml";

/// How far below the given directory manifests are looked for.
const MAX_DEPTH: usize = 8;

/// Largest manifest that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What a manifest says, as far as it can be checked before the plugin runs.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Name of the plugin.
    pub(super) name: String,
    /// Version, when the manifest gives one.
    pub(super) version: Option<Version>,
    /// What is run.
    pub(super) program: Program,
    /// Working directory.
    pub(super) dir: PathBuf,
    /// Whether there is a build, and what it makes.
    pub(super) outputs: Option<Vec<PathBuf>>,
    /// Tools that must be on `PATH`.
    pub(super) needs: Vec<String>,
    /// Plugins that must be there, with the versions that would do.
    pub(super) requires: Vec<(String, VersionReq)>,
    /// File with descriptors.
    pub(super) descriptor_set: Option<PathBuf>,
}

/// Which file is run.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// This one.
    File(PathBuf),
    /// The first of this name on `PATH`.
    OnPath(String),
}

/// Every manifest in and below `dir`, or `dir` itself when it is one; sorted.
pub(super) fn find(dir: &Path) -> Result<Vec<PathBuf>, DoctorError> {
    if dir.is_file() {
        return Ok(vec![dir.to_owned()]);
    }
    if !dir.is_dir() {
        return Err(DoctorError::NotFound(dir.to_owned()));
    }
    let wanted = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || name == "target" || name == "node_modules")
    };
    let found: Vec<_> = walkdir::WalkDir::new(dir)
        .max_depth(MAX_DEPTH)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(wanted)
        // What cannot be entered is not searched by the host either.
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() == MANIFEST_FILE && entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    if found.is_empty() { Err(DoctorError::NoManifest(dir.to_owned())) } else { Ok(found) }
}

/// Reads a manifest, or says everything that is wrong with it.
pub(super) fn read(file: &Path) -> Result<Facts, Vec<String>> {
    let one = |fault: String| vec![fault];
    let size = file.metadata().map_err(|error| one(error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(one(format!("it has {size} bytes; at most {MAX_BYTES} are read")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| one(error.to_string()))?;
    let documents = Yaml::load_from_str(&text).map_err(|error| one(error.to_string()))?;
    let root = documents.first().ok_or_else(|| one("it is empty".to_owned()))?;
    let base =
        std::path::absolute(file).ok().and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default();

    let mut faults = Vec::new();
    let text = |key: &str| root.as_mapping_get(key).and_then(Yaml::as_str).map(str::to_owned);
    let name = text("name").unwrap_or_default();
    if let Err(error) = name.parse::<crate::name::PluginName>() {
        faults.push(format!("name: {error}"));
    }
    let version = text("version").and_then(|version| {
        version
            .parse()
            .map_err(|error| faults.push(format!("version: {version:?} is not SemVer: {error}")))
            .ok()
    });
    let program = command(root).map(|word| {
        if word.contains('/') { Program::File(join(&base, &word)) } else { Program::OnPath(word) }
    });
    if program.is_none() {
        faults.push("command: it is missing".to_owned());
    }
    let requires = requires(root, &mut faults);
    let outputs = root.as_mapping_get("build").map(|build| strings(build.as_mapping_get("outputs"), &base));
    match program {
        Some(program) if faults.is_empty() => Ok(Facts {
            name,
            version,
            program,
            dir: text("dir").map_or_else(|| base.clone(), |dir| join(&base, &dir)),
            outputs,
            needs: sequence(root.as_mapping_get("needs")),
            requires,
            descriptor_set: text("descriptor_set").map(|path| join(&base, &path)),
        }),
        _ => Err(faults),
    }
}

/// The program of `command`: its first word.
fn command(root: &Yaml<'_>) -> Option<String> {
    let mut node = root.as_mapping_get("command")?;
    if node.as_str().is_none() && node.as_sequence_get(0).is_none() {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let exact = format!("{os}/{arch}");
        node = [exact.as_str(), os, "default"].iter().find_map(|key| node.as_mapping_get(key))?;
    }
    let first = node.as_sequence_get(0).unwrap_or(node);
    first.as_str()?.split_whitespace().next().map(str::to_owned)
}

fn requires(root: &Yaml<'_>, faults: &mut Vec<String>) -> Vec<(String, VersionReq)> {
    let mut all = Vec::new();
    for text in sequence(root.as_mapping_get("requires")) {
        let (name, range) = text.split_once(' ').unwrap_or((&text, "*"));
        match range.parse() {
            Ok(range) => all.push((name.to_owned(), range)),
            Err(error) => faults.push(format!("requires: {range:?} is no range of versions: {error}")),
        }
    }
    all
}

fn strings(node: Option<&Yaml<'_>>, base: &Path) -> Vec<PathBuf> {
    sequence(node).into_iter().map(|path| join(base, &path)).collect()
}

fn sequence(node: Option<&Yaml<'_>>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    (0..).map_while(|at| node.as_sequence_get(at)).filter_map(Yaml::as_str).map(str::to_owned).collect()
}

/// `path` seen from `base`, without the `.` that people write in front.
fn join(base: &Path, path: &str) -> PathBuf {
    base.join(path).components().collect()
}
