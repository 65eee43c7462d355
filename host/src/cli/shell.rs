//! Commands that people paste into a shell.

use std::path::{Path, PathBuf};

/// A command line in the making; every word is quoted when it needs to be.
#[derive(Debug, Default)]
pub(crate) struct CommandLine(String);

impl CommandLine {
    /// Starts with the program.
    pub(crate) fn new(program: &str) -> Self {
        Self::default().arg(program)
    }

    /// Adds one word.
    #[must_use]
    pub(crate) fn arg(mut self, word: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(&quote(word));
        self
    }

    /// Adds several words.
    #[must_use]
    pub(crate) fn args<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().fold(self, Self::arg)
    }

    /// Adds an option and the file it takes.
    #[must_use]
    pub(crate) fn file(self, option: &str, path: &Path) -> Self {
        self.arg(option).arg(&path.to_string_lossy())
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to type to run this program again from here: its name when `PATH` leads to it, else its path.
pub(crate) fn own_name() -> String {
    let Ok(program) = std::env::current_exe() else { return "plugmesh".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    name_of(&program, std::env::split_paths(&path), &std::env::current_dir().unwrap_or_default())
}

fn name_of(program: &Path, mut path: impl Iterator<Item = PathBuf>, here: &Path) -> String {
    let name = Path::new(program.file_name().unwrap_or_default());
    // Only the first one that is found would run.
    let found = path.find_map(|directory| directory.join(name).canonicalize().ok());
    let shown = match program.strip_prefix(here) {
        _ if found.as_deref() == Some(program) => name.to_owned(),
        Ok(below) if below == name => Path::new(".").join(below),
        Ok(below) => below.to_owned(),
        Err(_) => program.to_owned(),
    };
    shown.to_string_lossy().into_owned()
}

/// Quotes a word for a POSIX shell, when it needs it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_survives_the_shell() {
        assert_eq!(quote("unix:///run/a-b.sock"), "unix:///run/a-b.sock");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
        let line = CommandLine::new("grpcurl").args(["-plaintext", "-d", "{}"]);
        assert_eq!(line.to_string(), "grpcurl -plaintext -d '{}'");
    }

    #[test]
    fn a_program_is_named_as_a_shell_finds_it() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        let bin = base.join("bin");
        let program = bin.join("plugmesh");
        std::fs::create_dir(&bin).unwrap();
        std::fs::write(&program, "").unwrap();
        let on_path =
            |path: &[&Path], here: &Path| name_of(&program, path.iter().map(|path| path.to_path_buf()), here);
        assert_eq!(on_path(&[&bin], &base), "plugmesh");
        assert_eq!(on_path(&[&base], &base), "bin/plugmesh");
        assert_eq!(on_path(&[], &bin), "./plugmesh");
        assert_eq!(on_path(&[], Path::new("/elsewhere")), program.to_str().unwrap());
    }
}
