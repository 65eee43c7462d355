//! Tools that a plugin's language wants.

use std::ffi::OsStr;
use std::path::PathBuf;

/// The first executable file called `name` in the folders of `path`, a value like that of `PATH`.
pub fn find_program(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

/// The tools among `needs` that are not to be found on `path`. A plugin that misses one is skipped with a
/// message that names it: the plugin is fine, this machine is not made for it.
pub fn missing_tools<'n>(needs: &'n [String], path: &OsStr) -> Vec<&'n str> {
    needs.iter().map(String::as_str).filter(|name| find_program(name, path).is_none()).collect()
}

#[cfg(unix)]
fn is_executable(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &std::path::Path) -> bool {
    ["", "exe", "cmd", "bat"].iter().any(|ending| file.with_extension(ending).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_files_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        let needs = ["sh", "folder", "plain", "no-such-tool"].map(String::from);
        let path = std::env::join_paths([folder.path(), std::path::Path::new("/bin")]).unwrap();
        assert_eq!(missing_tools(&needs, &path), ["folder", "plain", "no-such-tool"]);
    }
}
