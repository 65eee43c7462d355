//! Readers of single values.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tonic::Code;

use super::super::fault::quote;
use super::super::secret::{Secret, expand};
use super::super::size::ByteSize;
use super::super::yaml::{Data, Node, Scalar};
use super::{Decoder, Segment};
use crate::closest::closest;
use crate::code::Codes;

/// Codes in a list: there are not more.
const MAX_CODES: usize = 17;

/// Text. A number where text belongs is refused: YAML has already lost how it was meant (`1.10` is `1.1`).
pub(in crate::config) fn text<'n>(d: &mut Decoder<'_>, node: &'n Node) -> Option<&'n str> {
    match &node.data {
        Data::Scalar(text, Scalar::Text) if text.contains('\0') => d.refuse(node, "holds a NUL character"),
        Data::Scalar(text, Scalar::Text) => Some(text),
        Data::Scalar(_, Scalar::Null) | Data::List(_) | Data::Map(_) => d.mismatch(node, "text"),
        Data::Scalar(..) => {
            let problem = format!("expected text, found {}", node.kind());
            d.refuse_with(node, problem, "put it in quotes")
        }
    }
}

/// Text, owned.
pub(in crate::config) fn string(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    text(d, node).map(str::to_owned)
}

/// Any scalar as it is written, so that `PORT: 8080` needs no quotes.
pub(in crate::config) fn scalar_text(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    match &node.data {
        Data::Scalar(text, _) if text.contains('\0') => d.refuse(node, "holds a NUL character"),
        Data::Scalar(_, Scalar::Null) => Some(String::new()),
        Data::Scalar(text, _) => Some(text.clone()),
        Data::List(_) | Data::Map(_) => d.mismatch(node, "text"),
    }
}

/// Text with its secret references resolved.
pub(in crate::config) fn secret(d: &mut Decoder<'_>, node: &Node) -> Option<Secret> {
    let written = scalar_text(d, node)?;
    let value = expanded(d, node, &written)?;
    if value.contains('\0') {
        return d.refuse(node, "holds a NUL character");
    }
    Some(Secret::new(value))
}

/// `written` with its secret references resolved.
pub(in crate::config) fn expanded(d: &mut Decoder<'_>, node: &Node, written: &str) -> Option<String> {
    expand(written, &d.base, d.context)
        .map_err(|why| d.fault(node.at, why, Some("write $${ for a plain ${".into())))
        .ok()
}

/// Text of a type that knows how to parse itself.
pub(in crate::config) fn parsed<T: FromStr<Err: Display>>(d: &mut Decoder<'_>, node: &Node) -> Option<T> {
    text(d, node)?.parse().map_err(|why| d.fault(node.at, why, None)).ok()
}

/// A SemVer version.
pub(in crate::config) fn version(d: &mut Decoder<'_>, node: &Node) -> Option<semver::Version> {
    let written = text(d, node)?;
    written
        .parse()
        .map_err(|why| {
            let problem = format!("{} is not a SemVer version: {why}", quote(written));
            d.fault(node.at, problem, Some("write MAJOR.MINOR.PATCH, such as 1.4.0".into()));
        })
        .ok()
}

/// One of some words.
pub(in crate::config) fn choice<T: Copy>(d: &mut Decoder<'_>, node: &Node, words: &[(&str, T)]) -> Option<T> {
    let written = text(d, node)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
        return Some(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = closest(written, known.iter().copied()).map(|close| format!("did you mean {close}?"));
    let problem = format!("{} is not one of {}", quote(written), known.join(", "));
    d.fault(node.at, problem, hint);
    None
}

/// `true` or `false`.
pub(in crate::config) fn boolean(d: &mut Decoder<'_>, node: &Node) -> Option<bool> {
    match node.data {
        Data::Scalar(_, Scalar::Bool(value)) => Some(value),
        _ => d.refuse_with(
            node,
            format_args!("expected true or false, found {}", node.kind()),
            "without quotes",
        ),
    }
}

/// A whole number within a range.
pub(in crate::config) fn integer(
    d: &mut Decoder<'_>,
    node: &Node,
    range: RangeInclusive<u32>,
) -> Option<u32> {
    let Data::Scalar(written, Scalar::Int(value)) = &node.data else {
        return d.mismatch(node, "a whole number");
    };
    match u32::try_from(*value).ok().filter(|value| range.contains(value)) {
        Some(value) => Some(value),
        None => {
            let (from, to) = range.into_inner();
            d.refuse(
                node,
                format_args!("{} is out of range: {from} to {to}", quote(written).trim_matches('"')),
            )
        }
    }
}

/// A number, whole or not, within a range.
pub(in crate::config) fn number(d: &mut Decoder<'_>, node: &Node, range: RangeInclusive<f64>) -> Option<f64> {
    let (written, value) = match &node.data {
        Data::Scalar(written, Scalar::Int(value)) => (written, *value as f64),
        Data::Scalar(written, Scalar::Float(value)) => (written, *value),
        _ => return d.mismatch(node, "a number"),
    };
    if !range.contains(&value) {
        let (from, to) = range.into_inner();
        return d.refuse(node, format_args!("{written} is out of range: {from} to {to}"));
    }
    Some(value)
}

/// A list of gRPC status codes by name, or a single one.
pub(in crate::config) fn codes(d: &mut Decoder<'_>, node: &Node) -> Option<Codes> {
    fn code(d: &mut Decoder<'_>, node: &Node) -> Option<Code> {
        Codes::parse(text(d, node)?).map_err(|why| d.fault(node.at, why, None)).ok()
    }
    match node.data {
        Data::List(_) => list(d, node, MAX_CODES, code).map(Codes::from_iter),
        _ => code(d, node).map(|code| Codes::of(&[code])),
    }
}

/// A duration with its unit, within a range.
pub(in crate::config) fn duration(
    d: &mut Decoder<'_>,
    node: &Node,
    range: &RangeInclusive<Duration>,
) -> Option<Duration> {
    const HINT: &str = "write a number and a unit, such as 500ms, 30s or 1m 30s";
    let Data::Scalar(written, Scalar::Text) = &node.data else {
        return d.refuse_with(node, format_args!("expected a duration, found {}", node.kind()), HINT);
    };
    let Ok(value) = humantime::parse_duration(written) else {
        return d.refuse_with(node, format_args!("{} is not a duration", quote(written)), HINT);
    };
    if !range.contains(&value) {
        let [from, to] = [range.start(), range.end()].map(|end| humantime::format_duration(*end));
        return d.refuse(node, format_args!("{written} is out of range: {from} to {to}"));
    }
    Some(value)
}

/// An amount of memory, within a range.
pub(in crate::config) fn size(
    d: &mut Decoder<'_>,
    node: &Node,
    range: &RangeInclusive<ByteSize>,
) -> Option<ByteSize> {
    let (Data::Scalar(written, Scalar::Text) | Data::Scalar(written, Scalar::Int(_))) = &node.data else {
        return d.mismatch(node, "a size such as 64MiB");
    };
    let value: ByteSize = match written.parse() {
        Ok(value) => value,
        Err(why) => return d.refuse(node, format_args!("{} is {why}", quote(written))),
    };
    if !range.contains(&value) {
        let (from, to) = (range.start(), range.end());
        return d.refuse(node, format_args!("{written} is out of range: {from} to {to}"));
    }
    Some(value)
}

/// A path; relative ones are relative to the file.
pub(in crate::config) fn path(d: &mut Decoder<'_>, node: &Node) -> Option<PathBuf> {
    match text(d, node)? {
        "" => d.refuse(node, "an empty path"),
        written => Some(d.resolve(written)),
    }
}

/// A list of at most `most` values. Faulty ones are reported each, and spoil the list.
pub(in crate::config) fn list<T>(
    d: &mut Decoder<'_>,
    node: &Node,
    most: usize,
    mut read: impl FnMut(&mut Decoder<'_>, &Node) -> Option<T>,
) -> Option<Vec<T>> {
    let Data::List(items) = &node.data else {
        return d.mismatch(node, "a list");
    };
    if items.len() > most {
        return d.refuse(node, format_args!("{} values, and at most {most} are taken", items.len()));
    }
    let values: Vec<Option<T>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| d.below(Segment::Index(index), |d| read(d, item)))
        .collect();
    values.into_iter().collect()
}

/// A mapping with free keys, of at most `most` entries.
pub(in crate::config) fn map<K: FromStr<Err: Display> + Ord, V>(
    d: &mut Decoder<'_>,
    node: &Node,
    most: usize,
    mut read: impl FnMut(&mut Decoder<'_>, &Node) -> Option<V>,
) -> Option<BTreeMap<K, V>> {
    let Data::Map(entries) = &node.data else {
        return d.mismatch(node, "a mapping");
    };
    if entries.len() > most {
        return d.refuse(node, format_args!("{} entries, and at most {most} are taken", entries.len()));
    }
    let mut values = BTreeMap::new();
    let mut whole = true;
    for (key, node) in entries {
        let name = key.text.parse::<K>().map_err(|why| d.fault(key.at, why, None)).ok();
        let value = d.below(Segment::Key(key.text.clone()), |d| read(d, node));
        match name.zip(value) {
            Some((name, value)) => drop(values.insert(name, value)),
            None => whole = false,
        }
    }
    whole.then_some(values)
}
