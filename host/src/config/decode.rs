//! From the tree to types, noting each fault and going on.

mod section;
mod value;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::fault::{ConfigError, Faults, Position};
use super::yaml::{self, MAX_FILE_SIZE, Node};

pub(super) use section::Section;
pub(super) use value::*;

/// Where one file's faults gather while it is decoded.
///
/// A reader of a value is a function from a node to an `Option`: none says that the reader has noted why.
pub(super) struct Decoder<'a> {
    faults: Faults,
    path: Vec<Segment>,
    /// Folder of the file, absolute: what relative paths are relative to.
    pub(super) base: PathBuf,
    pub(super) context: &'a Context<'a>,
    /// Keys that some section asked for, so that a test can compare them with what the docs show.
    #[cfg(test)]
    pub(super) asked: std::collections::BTreeSet<&'static str>,
}

/// A step from a node to one below it.
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

impl Decoder<'_> {
    pub(super) fn fault(&mut self, at: Position, problem: impl fmt::Display, hint: Option<String>) {
        let path = self.path();
        self.faults.add(at, path, problem.to_string(), hint);
    }

    /// A fault in the value at `node`; returns nothing, for readers to return.
    pub(super) fn refuse<T>(&mut self, node: &Node, problem: impl fmt::Display) -> Option<T> {
        self.fault(node.at, problem, None);
        None
    }

    /// The same with a hint.
    pub(super) fn refuse_with<T>(
        &mut self,
        node: &Node,
        problem: impl fmt::Display,
        hint: &str,
    ) -> Option<T> {
        self.fault(node.at, problem, Some(hint.into()));
        None
    }

    /// A value of another kind than `wanted`.
    pub(super) fn mismatch<T>(&mut self, node: &Node, wanted: &str) -> Option<T> {
        self.refuse(node, format_args!("expected {wanted}, found {}", node.kind()))
    }

    /// Runs a reader one step further down.
    pub(super) fn below<T>(&mut self, segment: Segment, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(segment);
        let value = read(self);
        self.path.pop();
        value
    }

    /// A path relative to the file's folder, without needless dots.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path).components().collect()
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Key(key) if path.is_empty() => path.push_str(key),
                Segment::Key(key) => path.extend([".", key]),
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }
}

/// Parses and decodes the text of one file.
pub(super) fn decode<T>(
    bytes: &[u8],
    file: &Path,
    context: &Context<'_>,
    read: impl FnOnce(&mut Decoder<'_>, &Node) -> Option<T>,
) -> Result<T, ConfigError> {
    let mut faults = Faults::new(file);
    let base = std::path::absolute(file).unwrap_or_else(|_| file.into());
    let base = base.parent().map(Path::to_path_buf).unwrap_or_default();
    let Some(tree) = tree(bytes, &mut faults) else {
        return faults.finish(None);
    };
    let mut decoder = Decoder {
        faults,
        path: Vec::new(),
        base,
        context,
        #[cfg(test)]
        asked: Default::default(),
    };
    let value = read(&mut decoder, &tree);
    debug_assert!(value.is_some() || !decoder.faults.is_empty(), "a reader gave up without a fault");
    decoder.faults.finish(value)
}

fn tree(bytes: &[u8], faults: &mut Faults) -> Option<Node> {
    if bytes.len() as u64 > MAX_FILE_SIZE {
        faults.add(Position::START, String::new(), format!("larger than {MAX_FILE_SIZE} bytes"), None);
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => yaml::parse(text, faults),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let column = String::from_utf8_lossy(last).chars().count() + 1;
            faults.add(Position { line, column }, String::new(), "not UTF-8 text", None);
            None
        }
    }
}

/// Reads a file for [`decode`], bounded.
pub(super) fn read_file(file: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |error: std::io::Error| ConfigError::of_file(file, format!("cannot be read: {error}"), None);
    // Opening a pipe would wait for somebody to write into it.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(ConfigError::of_file(file, "cannot be read: it is not a regular file", None));
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
