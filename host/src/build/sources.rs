//! The state of a build's sources as a text: equal texts, equal sources.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::BuildError;
use crate::config::{BuildConfig, Glob, is_skipped};

/// Most files looked at: a source tree, not a disk.
const MAX_FILES: usize = 100_000;

/// Deepest folder below a pattern's base.
const MAX_DEPTH: usize = 32;

/// Command, outputs, and paths, sizes and times of every source.
pub(super) fn state(config: &BuildConfig) -> Result<String, BuildError> {
    let mut walk = Walk { config, files: BTreeSet::new(), seen: 0 };
    if config.sources.is_empty() {
        walk.folder(&config.dir, &mut |_| true, 0)?;
    }
    for source in &config.sources {
        walk.pattern(source)?;
    }
    let mut hasher = DefaultHasher::new();
    config.command.to_string().hash(&mut hasher);
    config.outputs.hash(&mut hasher);
    for (path, size, modified) in &walk.files {
        path.strip_prefix(&config.dir).unwrap_or(path).hash(&mut hasher);
        size.hash(&mut hasher);
        modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos()).hash(&mut hasher);
    }
    let mut state = String::new();
    // Writing into a text cannot fail.
    let _ = writeln!(state, "plugmesh build 1\n{:016x} of {} files", hasher.finish(), walk.files.len());
    Ok(state)
}

struct Walk<'c> {
    config: &'c BuildConfig,
    files: BTreeSet<(PathBuf, u64, SystemTime)>,
    seen: usize,
}

impl Walk<'_> {
    fn pattern(&mut self, source: &Glob) -> Result<(), BuildError> {
        let (base, rest) = source.split_base();
        let base: PathBuf = self.config.dir.join(base).components().collect();
        match rest {
            // A source that is not there may appear later: then it is one.
            _ if !base.exists() => Ok(()),
            None if base.is_dir() => self.folder(&base, &mut |_| true, 0),
            None => self.file(base),
            Some(rest) => {
                let below = base.clone();
                let mut matches = move |file: &Path| {
                    let relative = file.strip_prefix(&below).unwrap_or(file).to_string_lossy();
                    rest.matches(&relative)
                };
                self.folder(&base, &mut matches, 0)
            }
        }
    }

    fn folder(
        &mut self,
        folder: &Path,
        matches: &mut dyn FnMut(&Path) -> bool,
        depth: usize,
    ) -> Result<(), BuildError> {
        for entry in std::fs::read_dir(folder).map_err(BuildError::io(folder))? {
            let entry = entry.map_err(BuildError::io(folder))?;
            let path = entry.path();
            self.seen += 1;
            if self.seen > MAX_FILES {
                let problem = format!("more than {MAX_FILES} files: name the sources in the manifest");
                return Err(BuildError::io(folder)(std::io::Error::other(problem)));
            }
            if self.config.outputs.contains(&path) {
                continue;
            }
            let kind = entry.file_type().map_err(BuildError::io(&path))?;
            if kind.is_dir() {
                if depth < MAX_DEPTH && !is_skipped(&entry.file_name().to_string_lossy()) {
                    self.folder(&path, matches, depth + 1)?;
                }
            } else if matches(&path) {
                self.file(path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) -> Result<(), BuildError> {
        // A link that leads nowhere counts by its name.
        let (size, modified) = match std::fs::metadata(&path) {
            Ok(meta) => (meta.len(), meta.modified().map_err(BuildError::io(&path))?),
            Err(_) => (0, SystemTime::UNIX_EPOCH),
        };
        self.files.insert((path, size, modified));
        Ok(())
    }
}
