//! A mapping with a fixed set of keys.

use super::super::fault::{Position, quote};
use super::super::yaml::{Data, Key, Node};
use super::{Decoder, Segment};
use crate::closest::closest;

/// Most keys that a fault lists; beyond, the docs are the better list.
const MAX_LISTED: usize = 12;

/// A mapping that is being taken apart. Each key that is asked for becomes a known key;
/// [`finish`](Section::finish) reports the rest.
#[must_use = "a section that is not finished does not report its unknown keys"]
pub(in crate::config) struct Section<'n> {
    at: Position,
    entries: &'n [(Key, Node)],
    known: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// The section at `node`, which must be a mapping; nothing at all counts as an empty one.
    pub(in crate::config) fn open(decoder: &mut Decoder<'_>, node: &'n Node) -> Option<Self> {
        let entries = match &node.data {
            Data::Map(entries) => entries.as_slice(),
            _ if node.is_null() => &[],
            _ => return decoder.mismatch(node, "a mapping"),
        };
        Some(Self { at: node.at, entries, known: Vec::new() })
    }

    /// The value of `key`, if it is given and good. A key without a value counts as not given.
    pub(in crate::config) fn optional<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Decoder<'_>, &'n Node) -> Option<T>,
    ) -> Option<T> {
        self.any(decoder, key, |decoder, node| if node.is_null() { None } else { read(decoder, node) })
    }

    /// The same, where an explicit null is a value.
    pub(in crate::config) fn any<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Decoder<'_>, &'n Node) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        #[cfg(test)]
        decoder.asked.insert(key);
        let node = self.get(key)?;
        decoder.below(Segment::Key(key.into()), |decoder| read(decoder, node))
    }

    /// The same for a key that must be there.
    pub(in crate::config) fn required<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Decoder<'_>, &'n Node) -> Option<T>,
    ) -> Option<T> {
        let value = self.optional(decoder, key, read);
        if !self.has(key) {
            let at = self.get(key).map_or(self.at, |node| node.at);
            decoder.fault(at, format_args!("{key} is missing"), None);
        }
        value
    }

    /// Whether `key` has a value.
    pub(in crate::config) fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|node| !node.is_null())
    }

    /// Where `key` is written.
    pub(in crate::config) fn key_position(&self, key: &str) -> Option<Position> {
        self.entries.iter().find(|(name, _)| name.text == key).map(|(name, _)| name.at)
    }

    /// Where the section starts.
    pub(in crate::config) fn at(&self) -> Position {
        self.at
    }

    /// The entries that nobody asked for, for sections that take names of their own beside known keys.
    pub(in crate::config) fn others(&self) -> impl Iterator<Item = &'n (Key, Node)> + use<'n> {
        let known = self.known.clone();
        self.entries.iter().filter(move |(key, _)| !known.contains(&key.text.as_str()))
    }

    /// Reports what is left over.
    pub(in crate::config) fn finish(self, decoder: &mut Decoder<'_>) {
        for (key, _) in self.others() {
            let hint = match closest(&key.text, self.known.iter().copied()) {
                Some(close) => Some(format!("did you mean {close}?")),
                None if self.known.len() <= MAX_LISTED => {
                    Some(format!("known keys: {}", self.known.join(", ")))
                }
                None => None,
            };
            decoder.fault(key.at, format_args!("unknown key {}", quote(&key.text)), hint);
        }
    }

    fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }
}
