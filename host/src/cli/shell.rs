//! Commands that people paste into a shell.

use std::path::Path;

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
}
