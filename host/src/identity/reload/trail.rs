//! Which directory entries decide what a path leads to.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Symbolic links that are followed before a path counts as a loop; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// The entries that lead from some paths to their files: each symbolic link on the way, and the file itself or
/// the first entry that is missing. All are in directories that exist and have no link in their path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trail {
    entries: BTreeSet<PathBuf>,
}

impl Trail {
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut trail = Self::default();
        for path in paths {
            // It fails only for an empty path or without a working directory: then reading says so.
            if let Ok(path) = std::path::absolute(path) {
                trail.follow(&path);
            }
        }
        trail
    }

    /// The directories to watch.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        self.entries.iter().filter_map(|entry| entry.parent()).map(Path::to_owned).collect()
    }

    /// Whether a change of `path` may change what the paths lead to.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        self.entries.contains(path) || self.entries.iter().any(|entry| entry.parent() == Some(path))
    }

    fn follow(&mut self, path: &Path) {
        let mut at = PathBuf::new();
        let mut ahead: VecDeque<OsString> = components(path);
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let entry = at.join(&name);
            match std::fs::symlink_metadata(&entry) {
                Ok(metadata) if metadata.is_symlink() => {
                    self.entries.insert(entry.clone());
                    links += 1;
                    let Ok(target) = std::fs::read_link(&entry) else { return };
                    if links > MAX_LINKS {
                        return;
                    }
                    // An absolute target starts over: `join` with its root replaces what is there.
                    for name in components(&target).into_iter().rev() {
                        ahead.push_front(name);
                    }
                }
                Ok(_) => {
                    if ahead.is_empty() {
                        self.entries.insert(entry.clone());
                    }
                    at = entry;
                }
                Err(_) => {
                    self.entries.insert(entry);
                    return;
                }
            }
        }
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|component| !matches!(component, Component::CurDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("etc/..2024")).unwrap();
        fs::write(root.join("etc/..2024/tls.crt"), "").unwrap();
        symlink("..2024", root.join("etc/..data")).unwrap();
        symlink("..data/tls.crt", root.join("etc/tls.crt")).unwrap();
        symlink(root.join("etc"), root.join("link")).unwrap();
        let trail = Trail::of([root.join("link/../etc/./tls.crt").as_path()]);
        let expected = ["link", "etc/tls.crt", "etc/..data", "etc/..2024/tls.crt"];
        assert_eq!(trail.entries, expected.iter().map(|name| root.join(name)).collect());
        let directories = ["", "etc", "etc/..2024"];
        assert_eq!(
            trail.directories(),
            directories.iter().map(|name| root.join(name).components().collect()).collect()
        );
        assert!(trail.concerns(&root.join("etc/..data")) && trail.concerns(&root.join("etc")));
        assert!(!trail.concerns(&root.join("etc/other")));
    }

    #[test]
    fn a_missing_directory_is_awaited_where_it_would_be() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let trail = Trail::of([root.join("a/b/c").as_path()]);
        assert_eq!(trail.entries, [root.join("a")].into());
    }

    #[test]
    fn a_loop_of_links_ends() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(Trail::of([root.join("a").as_path()]).entries, [root.join("a"), root.join("b")].into());
    }
}
