//! YAML as a tree in which every node knows its place.
//!
//! Built from the parser's events rather than with a loader, because a loader drops duplicate keys without
//! a word, expands aliases without a bound and recurses as deep as the file nests.

mod build;
mod scalar;

use super::fault::Position;

pub(super) use build::parse;
pub(super) use scalar::Scalar;

/// Largest file read: generous for text that people write, small enough to read whole.
pub(super) const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// Deepest nesting: below it plain recursion over the tree is safe on any stack.
pub(super) const MAX_DEPTH: usize = 64;

/// Most nodes after aliases are expanded, so that a few lines of aliases to aliases stay small.
pub(super) const MAX_NODES: usize = 100_000;

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) data: Data,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// The text as written, and what the YAML core schema makes of it.
    Scalar(String, Scalar),
    List(Vec<Node>),
    /// In the order of the file; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// Key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) text: String,
}

impl Node {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Scalar(_, scalar) => scalar.kind(),
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    /// Whether it is this text.
    pub(super) fn is_text(&self, word: &str) -> bool {
        matches!(&self.data, Data::Scalar(text, Scalar::Text) if text == word)
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.data, Data::Scalar(_, Scalar::Null))
    }
}
