//! Whether some bytes are an event.
//!
//! Everything is looked at once, and nothing is allocated as long as it is sound: whoever is handed an event afterwards can rely on
//! it, and so can every decoder that it is forwarded to.

pub(super) mod quick;

use std::ops::Range;

use super::attribute::{Attribute, BadValue};
use super::{SPEC_VERSION, field};
use crate::wire::{Fields, WireError};

/// Longest name of an attribute. The specification recommends 20 and forbids nothing.
const MAX_NAME: usize = 64;

/// Largest event, in bytes: its parts are kept as 32-bit numbers, and no message of gRPC is larger.
pub(super) const MAX_EVENT: usize = u32::MAX as usize;

/// Why some bytes are no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// They are not even a message.
    #[error("not an encoded io.cloudevents.v1.CloudEvent: {0}")]
    Wire(#[from] WireError),
    /// A required attribute is absent or empty.
    #[error("`{0}` is missing or empty; an event needs id, source, spec_version and type")]
    Missing(&'static str),
    /// Of another version.
    #[error("`spec_version` is {0:?}; this is version {SPEC_VERSION}")]
    SpecVersion(String),
    /// The name of an attribute is not allowed.
    #[error("the attribute name {0:?} is not 1 to {MAX_NAME} lower-case letters and digits")]
    Name(String),
    /// A required attribute, or the data, is among the optional ones.
    #[error("`{0}` is a field of the event and cannot be in `attributes` as well")]
    Reserved(String),
    /// An optional attribute has the wrong type.
    #[error("the attribute `{name}` is of type {found}; it must be {expected}")]
    Type {
        /// Its name.
        name: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// The value of an attribute cannot be read.
    #[error("the attribute `{name}`: {problem}")]
    Value {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// An optional attribute is an empty string.
    #[error("the attribute `{0}` is empty; leave it out instead")]
    Empty(String),
    /// It has more than four gigabytes.
    #[error("an event cannot have more than 4 GiB")]
    TooLarge,
}

/// A part of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    begin: u32,
    end: u32,
}

impl Span {
    pub(super) fn range(self) -> Range<usize> {
        self.begin as usize..self.end as usize
    }

    fn is_empty(self) -> bool {
        self.begin == self.end
    }
}

impl From<Range<usize>> for Span {
    /// Of an event of at most [`MAX_EVENT`].
    fn from(range: Range<usize>) -> Self {
        Self { begin: range.start as u32, end: range.end as u32 }
    }
}

/// Which of the three kinds of data an event has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DataKind {
    #[default]
    None,
    Binary,
    Text,
    Proto,
}

/// Where the parts of a sound event are. An empty one is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) id: Span,
    pub(super) source: Span,
    pub(super) event_type: Span,
    /// The encoded value of the attribute.
    pub(super) partition_key: Span,
    pub(super) data: Span,
    pub(super) data_kind: DataKind,
}

/// Looks at all of an event.
#[inline]
pub(super) fn check(event: &[u8]) -> Result<Parts, InvalidEvent> {
    quick::look::<true>(event).map_or_else(|| check_any_order(event), Ok)
}

/// Finds the parts of an event that somebody else has looked at: its texts are not looked at again if it is written as usual. Of one
/// that is not sound there are none.
#[inline]
pub(super) fn find(event: &[u8]) -> Parts {
    quick::look::<false>(event).unwrap_or_else(|| check_any_order(event).unwrap_or_default())
}

/// The same for an event that is written in any way that is allowed.
pub(super) fn check_any_order(event: &[u8]) -> Result<Parts, InvalidEvent> {
    if event.len() > MAX_EVENT {
        return Err(InvalidEvent::TooLarge);
    }
    let mut parts = Parts::default();
    let mut version = "";
    for field in Fields::of(event) {
        let field = field?;
        match field.number {
            field::ID | field::SOURCE | field::TYPE => {
                field.text()?;
                let part = match field.number {
                    field::ID => &mut parts.id,
                    field::SOURCE => &mut parts.source,
                    _ => &mut parts.event_type,
                };
                *part = field.content()?.into();
            }
            field::SPEC_VERSION => version = field.text()?,
            field::ATTRIBUTES => {
                let content = field.content()?;
                if let Some(key) = check_attribute(field.bytes()?)? {
                    parts.partition_key = (content.start + key.start..content.start + key.end).into();
                }
            }
            field::BINARY_DATA | field::TEXT_DATA | field::PROTO_DATA => {
                parts.data = field.content()?.into();
                parts.data_kind = match field.number {
                    field::BINARY_DATA => DataKind::Binary,
                    field::TEXT_DATA => field.text().map(|_| DataKind::Text)?,
                    _ => check_any(field.bytes()?).map(|()| DataKind::Proto)?,
                };
            }
            _ => {}
        }
    }
    for (part, name) in [(parts.id, "id"), (parts.source, "source"), (parts.event_type, "type")] {
        if part.is_empty() {
            return Err(InvalidEvent::Missing(name));
        }
    }
    match version {
        SPEC_VERSION => Ok(parts),
        "" => Err(InvalidEvent::Missing("spec_version")),
        other => Err(InvalidEvent::SpecVersion(excerpt(other))),
    }
}

/// Looks at an entry of `attributes`. Gives where its value is if that is the partition key.
fn check_attribute(entry: &[u8]) -> Result<Option<Range<usize>>, InvalidEvent> {
    let (name, value) = read_entry(entry)?;
    check_name(name)?;
    let attribute = Attribute::read(&entry[value.clone()]).map_err(|problem| match problem {
        BadValue::Wire(error) => InvalidEvent::Wire(error),
        problem => InvalidEvent::Value { name: excerpt(name), problem: problem.to_string() },
    })?;
    check_value(name, &attribute)?;
    Ok((name == super::PARTITION_KEY).then_some(value))
}

/// Name of an entry of `attributes`, and where its encoded value is.
pub(super) fn read_entry(entry: &[u8]) -> Result<(&str, Range<usize>), WireError> {
    let (mut name, mut value) = ("", 0..0);
    for field in Fields::of(entry) {
        let field = field?;
        match field.number {
            field::NAME => name = field.text()?,
            field::VALUE => value = field.content()?,
            _ => {}
        }
    }
    Ok((name, value))
}

pub(super) fn check_name(name: &str) -> Result<(), InvalidEvent> {
    let is_sound = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !is_sound {
        return Err(InvalidEvent::Name(excerpt(name)));
    }
    match name {
        "id" | "source" | "specversion" | "type" | "data" => Err(InvalidEvent::Reserved(excerpt(name))),
        _ => Ok(()),
    }
}

/// The types of what the specification itself defines, and of the extensions that routing and tracing read.
pub(super) fn check_value(name: &str, attribute: &Attribute<'_>) -> Result<(), InvalidEvent> {
    let (expected, is_right) = match name {
        "time" => ("Timestamp", matches!(attribute, Attribute::Timestamp(_))),
        "dataschema" => ("URI", matches!(attribute, Attribute::Uri(_))),
        "subject" | "datacontenttype" | super::PARTITION_KEY | "traceparent" | "tracestate" => {
            ("String", matches!(attribute, Attribute::String(_)))
        }
        _ => return Ok(()),
    };
    match attribute {
        _ if !is_right => {
            Err(InvalidEvent::Type { name: excerpt(name), expected, found: attribute.type_name() })
        }
        Attribute::String("") | Attribute::Uri("") => Err(InvalidEvent::Empty(excerpt(name))),
        _ => Ok(()),
    }
}

/// A `google.protobuf.Any`.
fn check_any(message: &[u8]) -> Result<(), WireError> {
    for field in Fields::of(message) {
        let field = field?;
        match field.number {
            1 => drop(field.text()?),
            2 => drop(field.bytes()?),
            _ => {}
        }
    }
    Ok(())
}

/// What of a text of strangers goes into a message.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    text.chars().take(LONGEST).collect()
}
