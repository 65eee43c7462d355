//! Values of optional attributes and extensions.

use std::borrow::Cow;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::BufMut;
use prost::Message as _;
use prost_types::Timestamp;

use crate::wire::{Fields, WireError, field_len, put_bytes, put_head, put_varint, varint_len};

/// What a timestamp may be: the years 1 to 9999 (`google.protobuf.Timestamp`).
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The value of an attribute, of one of the types that CloudEvents have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute<'a> {
    /// `ce_boolean`.
    Boolean(bool),
    /// `ce_integer`.
    Integer(i32),
    /// `ce_string`.
    String(&'a str),
    /// `ce_bytes`.
    Bytes(&'a [u8]),
    /// `ce_uri`.
    Uri(&'a str),
    /// `ce_uri_ref`.
    UriRef(&'a str),
    /// `ce_timestamp`.
    Timestamp(Timestamp),
}

/// Why a value is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadValue {
    #[error("it has no value")]
    Missing,
    #[error("it is not a 32-bit number")]
    Integer,
    #[error("it is not a time between the years 1 and 9999")]
    Timestamp,
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl<'a> Attribute<'a> {
    /// Reads a `CloudEventAttributeValue`. Of several fields the last one counts, as with any protobuf decoder.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, BadValue> {
        let mut read = None;
        for field in Fields::of(message) {
            let field = field?;
            read = Some(match field.number {
                1 => Self::Boolean(field.varint()? != 0),
                // Negative numbers come as 64 bits, their sign extended.
                2 => Self::Integer(i32::try_from(field.varint()? as i64).map_err(|_| BadValue::Integer)?),
                3 => Self::String(field.text()?),
                4 => Self::Bytes(field.bytes()?),
                5 => Self::Uri(field.text()?),
                6 => Self::UriRef(field.text()?),
                7 => Self::Timestamp(timestamp(field.bytes()?)?),
                _ => continue,
            });
        }
        read.ok_or(BadValue::Missing)
    }

    /// Name of its type, as the specification has it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "Boolean",
            Self::Integer(_) => "Integer",
            Self::String(_) => "String",
            Self::Bytes(_) => "Binary",
            Self::Uri(_) => "URI",
            Self::UriRef(_) => "URI-reference",
            Self::Timestamp(_) => "Timestamp",
        }
    }

    /// The value as the canonical string of the specification: Base64 for bytes, RFC 3339 for times.
    pub fn to_text(&self) -> Cow<'a, str> {
        match *self {
            Self::String(text) | Self::Uri(text) | Self::UriRef(text) => Cow::Borrowed(text),
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Bytes(bytes) => Cow::Owned(BASE64.encode(bytes)),
            Self::Timestamp(time) => Cow::Owned(time.to_string()),
        }
    }

    /// Bytes of the encoded `CloudEventAttributeValue`.
    pub(super) fn encoded_len(&self) -> usize {
        match self {
            Self::Boolean(_) => 2,
            Self::Integer(number) => 1 + varint_len(i64::from(*number) as u64),
            Self::String(text) | Self::Uri(text) | Self::UriRef(text) => field_len(text.len()),
            Self::Bytes(bytes) => field_len(bytes.len()),
            Self::Timestamp(time) => field_len(time.encoded_len()),
        }
    }

    /// Writes a `CloudEventAttributeValue`.
    pub(super) fn put(&self, to: &mut impl BufMut) {
        match self {
            Self::Boolean(value) => put_varint(1, u64::from(*value), to),
            Self::Integer(number) => put_varint(2, i64::from(*number) as u64, to),
            Self::String(text) => put_bytes(3, text.as_bytes(), to),
            Self::Bytes(bytes) => put_bytes(4, bytes, to),
            Self::Uri(text) => put_bytes(5, text.as_bytes(), to),
            Self::UriRef(text) => put_bytes(6, text.as_bytes(), to),
            Self::Timestamp(time) => {
                put_head(7, time.encoded_len(), to);
                // What it needs it has: the buffer grows.
                time.encode_raw(to);
            }
        }
    }
}

impl<'a> From<&'a str> for Attribute<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Attribute<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Attribute<'_> {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl<'a> From<&'a [u8]> for Attribute<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<SystemTime> for Attribute<'_> {
    fn from(time: SystemTime) -> Self {
        Self::Timestamp(time.into())
    }
}

fn timestamp(message: &[u8]) -> Result<Timestamp, BadValue> {
    let mut time = Timestamp::default();
    for field in Fields::of(message) {
        let field = field?;
        match field.number {
            1 => time.seconds = field.varint()? as i64,
            2 => time.nanos = i32::try_from(field.varint()? as i64).map_err(|_| BadValue::Timestamp)?,
            _ => {}
        }
    }
    let is_sound = SECONDS.contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    is_sound.then_some(time).ok_or(BadValue::Timestamp)
}
