//! Manifests below directories.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::fault::ConfigError;
use super::manifest::Manifest;

/// What a manifest is called.
pub const MANIFEST_FILE: &str = "plugin.yaml";

/// What a host's own file is called.
const HOST_FILE: &str = "plugmesh.yaml";

/// How far below the given directory manifests are looked for; its own is at depth 0.
const MAX_DEPTH: usize = 8;

/// Most directory entries looked at, so that a search started at `/` ends.
const MAX_SEARCHED: usize = 200_000;

/// Directories that hold what tools make, not what people write; dot directories are skipped as well.
pub(crate) const SKIPPED: [&str; 4] = ["target", "node_modules", "__pycache__", "venv"];

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// Each manifest, absolute and sorted by path, read or with all its faults.
    pub manifests: Vec<(PathBuf, Result<Manifest, ConfigError>)>,
    /// Directories that could not be searched, or not to the end.
    pub unreadable: Vec<Unreadable>,
}

/// A directory that could not be searched.
#[derive(Debug, thiserror::Error)]
#[error("cannot search {}", .directory.display())]
pub struct Unreadable {
    /// The directory.
    pub directory: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The host's file: the one that was named, or `plugmesh.yaml` in the only directory.
pub(crate) fn file_of(named: Option<&Path>, directories: &[PathBuf]) -> Option<PathBuf> {
    let beside = || match directories {
        [only] => Some(only.join(HOST_FILE)).filter(|file| file.is_file()),
        _ => None,
    };
    named.map(Path::to_path_buf).or_else(beside)
}

/// Reads every manifest in and below `directories`; a path to a manifest itself is taken as well.
///
/// Follows links to directories, but enters each directory once, so that a loop of links ends.
/// Blocks on the file system: call it where that is allowed.
pub fn search<P: AsRef<Path>>(directories: &[P]) -> Found {
    search_with(directories, &Context::process())
}

/// The same with an environment handed in.
pub(super) fn search_with<P: AsRef<Path>>(directories: &[P], context: &Context<'_>) -> Found {
    let mut walk = Walk::default();
    for directory in directories {
        let directory = directory.as_ref();
        walk.start(std::path::absolute(directory).unwrap_or_else(|_| directory.into()));
    }
    let Walk { mut files, unreadable, .. } = walk;
    files.sort();
    files.dedup();
    let manifests = files.into_iter().map(|file| {
        let manifest = Manifest::load_with(&file, context);
        (file, manifest)
    });
    Found { manifests: manifests.collect(), unreadable }
}

#[derive(Default)]
struct Walk {
    files: Vec<PathBuf>,
    unreadable: Vec<Unreadable>,
    seen: HashSet<Identity>,
    searched: usize,
}

impl Walk {
    fn start(&mut self, start: PathBuf) {
        match std::fs::metadata(&start) {
            Ok(meta) if meta.is_file() => self.files.push(start),
            Ok(_) => {
                let mut open = vec![(start, 0)];
                while let Some((directory, depth)) = open.pop() {
                    match self.enter(&directory, depth) {
                        Ok(below) => open.extend(below.into_iter().map(|path| (path, depth + 1))),
                        Err(source) => self.unreadable.push(Unreadable { directory, source }),
                    }
                }
            }
            Err(source) => self.unreadable.push(Unreadable { directory: start, source }),
        }
    }

    /// Notes the directory's manifest; returns the directories to enter next, the last first.
    fn enter(&mut self, directory: &Path, depth: usize) -> io::Result<Vec<PathBuf>> {
        if !self.seen.insert(identity(directory)?) {
            return Ok(Vec::new());
        }
        let mut below = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            self.searched += 1;
            if self.searched > MAX_SEARCHED {
                return Err(io::Error::other(format!(
                    "more than {MAX_SEARCHED} files: search a smaller directory"
                )));
            }
            let entry = entry?;
            let name = entry.file_name();
            if name == MANIFEST_FILE {
                // A broken link is a manifest that cannot be read, and said to be so.
                self.files.push(entry.path());
            } else if depth < MAX_DEPTH && !is_skipped(&name.to_string_lossy()) && is_directory(&entry) {
                below.push(entry.path());
            }
        }
        below.sort_by(|a, b| b.cmp(a));
        Ok(below)
    }
}

/// Whether a search, for manifests or for sources, leaves out a directory of this name.
pub(crate) fn is_skipped(name: &str) -> bool {
    name.starts_with('.') || SKIPPED.contains(&name)
}

fn is_directory(entry: &std::fs::DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = PathBuf;

#[cfg(unix)]
fn identity(directory: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(directory)?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
fn identity(directory: &Path) -> io::Result<Identity> {
    std::fs::canonicalize(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(root: &Path, folder: &str, text: &str) -> PathBuf {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        let file = root.join(folder).join(MANIFEST_FILE);
        std::fs::write(&file, text).unwrap();
        file
    }

    const GOOD: &str = "name: a\ncommand: ./a\n";

    #[test]
    fn manifests_are_found_in_order_and_tools_folders_skipped() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let deep = "1/2/3/4/5/6/7/8";
        let files = [plugin(root, deep, GOOD), plugin(root, "b/inner", "name: 1"), plugin(root, "b", GOOD)];
        for skipped in [".git", "target", "node_modules/x", "a/__pycache__", "venv", &format!("{deep}/9")] {
            plugin(root, skipped, GOOD);
        }
        let found = search(&[root, &root.join("b")]);
        assert!(found.unreadable.is_empty());
        let paths: Vec<&PathBuf> = found.manifests.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, files.iter().collect::<Vec<_>>());
        assert_eq!(
            found.manifests.iter().map(|(_, read)| read.is_ok()).collect::<Vec<_>>(),
            [true, false, true]
        );
    }

    #[test]
    fn a_manifest_itself_is_taken_and_a_missing_directory_told() {
        let root = tempfile::tempdir().unwrap();
        let file = plugin(root.path(), "a", GOOD);
        let found = search(&[file, root.path().join("none")]);
        assert_eq!(found.manifests.len(), 1);
        assert!(found.unreadable[0].to_string().ends_with("none"));
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends() {
        let root = tempfile::tempdir().unwrap();
        plugin(root.path(), "a/b", GOOD);
        std::os::unix::fs::symlink(root.path(), root.path().join("a/up")).unwrap();
        std::os::unix::fs::symlink(root.path().join("a"), root.path().join("again")).unwrap();
        assert_eq!(search(&[root.path()]).manifests.len(), 1);
    }
}
