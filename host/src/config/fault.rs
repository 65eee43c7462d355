//! What is wrong in a file, where, and what to do about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most faults kept for one file: beyond that a person fixes the first ones and looks again, and a hostile
/// manifest cannot fill the log.
const MAX_FAULTS: usize = 100;

/// Most characters of a foreign text that a fault repeats.
const MAX_QUOTED: usize = 60;

/// A place in a text file. Ordered as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: Arc<Path>,
    /// Where in it; none when the file could not be read at all.
    pub at: Option<Position>,
    /// The key that it is about, such as `plugins.calculator.instances`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.at {
            write!(f, "{line}:{column}:")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.problem)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Every fault found in one file, or between several, in the order of their positions.
///
/// Displays as one line per fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<Fault>,
    more: usize,
}

impl ConfigError {
    /// The faults, at least one, sorted by file and position.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many faults were found beyond those kept.
    pub fn more(&self) -> usize {
        self.more
    }

    /// An error of a single fault about a file as a whole.
    pub(crate) fn of_file(file: &Path, problem: impl Into<String>, hint: Option<String>) -> Self {
        let fault = Fault { file: file.into(), at: None, path: String::new(), problem: problem.into(), hint };
        Self { faults: vec![fault], more: 0 }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Collects the faults of one file.
#[derive(Debug)]
pub(super) struct Faults {
    file: Arc<Path>,
    list: Vec<Fault>,
    more: usize,
}

impl Faults {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.into(), list: Vec::new(), more: 0 }
    }

    pub(super) fn add(
        &mut self,
        at: Position,
        path: String,
        problem: impl Into<String>,
        hint: Option<String>,
    ) {
        if self.list.len() == MAX_FAULTS {
            self.more += 1;
            return;
        }
        let (file, problem) = (self.file.clone(), problem.into());
        let fault = Fault { file, at: Some(at), path, problem, hint };
        // An alias decodes its anchor's node once more, and so meets the same fault once more.
        if !self.list.contains(&fault) {
            self.list.push(fault);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value, unless a fault was found: a value decoded beside a fault is not trusted.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => Err(self.into_error()),
        }
    }

    pub(super) fn into_error(mut self) -> ConfigError {
        self.list.sort_by_key(|fault| fault.at);
        ConfigError { faults: self.list, more: self.more }
    }
}

/// Foreign text as it may stand in a message: quoted, escaped and cut.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
