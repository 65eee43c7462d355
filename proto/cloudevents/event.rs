//! Events as bytes.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use super::attribute::Attribute;
use super::builder::EventBuilder;
use super::check::{DataKind, InvalidEvent, Parts, Span, check, find, read_entry};
use super::{field, v1};
use crate::wire::Fields;

/// A sound event that somebody else owns the bytes of. See [`Event`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EventRef<'a> {
    bytes: &'a [u8],
    parts: Parts,
}

/// A sound event: the encoded message, not decoded.
///
/// Cloning shares the bytes. Whoever asks for a part of it has it looked for: that takes less than to keep where each of them is, for
/// the many events that somebody else only hands on.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    bytes: Bytes,
}

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Nothing.
    None,
    /// Bytes; `datacontenttype` says of what kind.
    Binary(&'a [u8]),
    /// Text; `datacontenttype` says of what kind.
    Text(&'a str),
    /// An encoded `google.protobuf.Any`.
    Proto(&'a [u8]),
}

impl<'a> EventRef<'a> {
    /// Looks at all of the event.
    ///
    /// # Errors
    /// It is not a valid event.
    #[inline]
    pub fn check(bytes: &'a [u8]) -> Result<Self, InvalidEvent> {
        check(bytes).map(|parts| Self { bytes, parts })
    }

    /// What happened, as bytes: for who compares many.
    #[inline]
    pub fn event_type_bytes(&self) -> &'a [u8] {
        self.bytes.get(self.parts.event_type.range()).unwrap_or_default()
    }

    /// The encoded message.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Tells it from every other event of its [`source`](Self::source).
    pub fn id(&self) -> &'a str {
        self.text(self.parts.id)
    }

    /// Where it happened: a URI reference.
    pub fn source(&self) -> &'a str {
        self.text(self.parts.source)
    }

    /// What happened: its topic.
    pub fn event_type(&self) -> &'a str {
        self.text(self.parts.event_type)
    }

    /// Events with the same key are handled in order, one at a time. `None`: it does not matter when it is handled.
    pub fn partition_key(&self) -> Option<&'a str> {
        let value = self.bytes.get(self.parts.partition_key.range())?;
        match Attribute::read(value) {
            Ok(Attribute::String(key)) => Some(key),
            _ => None,
        }
    }

    /// An optional attribute or an extension.
    pub fn attribute(&self, name: &str) -> Option<Attribute<'a>> {
        // Of two with the same name the last one counts, as with any decoder.
        self.attributes().filter(|(found, _)| *found == name).last().map(|(_, value)| value)
    }

    /// The optional attributes and extensions, in the order in which they are written.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, Attribute<'a>)> + use<'a> {
        Fields::of(self.bytes)
            .map_while(Result::ok)
            .filter(|field| field.number == field::ATTRIBUTES)
            .filter_map(|field| {
                let entry = field.bytes().ok()?;
                let (name, value) = read_entry(entry).ok()?;
                Some((name, Attribute::read(entry.get(value)?).ok()?))
            })
    }

    /// What it says.
    #[inline]
    pub fn data(&self) -> Data<'a> {
        let data = self.bytes.get(self.parts.data.range()).unwrap_or_default();
        match self.parts.data_kind {
            DataKind::None => Data::None,
            DataKind::Binary => Data::Binary(data),
            DataKind::Text => Data::Text(self.text(self.parts.data)),
            DataKind::Proto => Data::Proto(data),
        }
    }

    fn text(&self, part: Span) -> &'a str {
        // It was UTF-8 when it was checked. Doing so again is cheaper than what it takes to prove that.
        self.bytes.get(part.range()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Event {
    /// Keeps an encoded event of a peer that has looked at it, such as the bus of a host: nobody looks at it again. Should it not be
    /// sound, what cannot be read is empty.
    pub fn from_checked_bytes(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// Looks at all of an encoded event, and keeps it.
    ///
    /// # Errors
    /// It is not a valid event.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, InvalidEvent> {
        check(&bytes)?;
        Ok(Self { bytes })
    }

    /// A new event of a type, from a source: a URI reference such as `/billing` or `https://example.com/billing`.
    pub fn builder<'a>(event_type: &'a str, source: &'a str) -> EventBuilder<'a> {
        EventBuilder::new(event_type, source)
    }

    /// The same, borrowed. What can be asked of an event is there.
    #[inline]
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef { bytes: &self.bytes, parts: find(&self.bytes) }
    }

    /// The encoded message.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The encoded message, for good.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// See [`EventRef::id`].
    #[inline]
    pub fn id(&self) -> &str {
        self.as_ref().id()
    }

    /// See [`EventRef::source`].
    #[inline]
    pub fn source(&self) -> &str {
        self.as_ref().source()
    }

    /// See [`EventRef::event_type`].
    #[inline]
    pub fn event_type(&self) -> &str {
        self.as_ref().event_type()
    }

    /// See [`EventRef::partition_key`].
    pub fn partition_key(&self) -> Option<&str> {
        self.as_ref().partition_key()
    }

    /// See [`EventRef::attribute`].
    pub fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.as_ref().attribute(name)
    }

    /// See [`EventRef::data`].
    #[inline]
    pub fn data(&self) -> Data<'_> {
        self.as_ref().data()
    }

    /// The generated message of it.
    ///
    /// # Errors
    /// Never for an event that was checked, unless the two disagree.
    pub fn decode(&self) -> Result<v1::CloudEvent, prost::DecodeError> {
        v1::CloudEvent::decode(self.bytes.clone())
    }
}

impl TryFrom<&v1::CloudEvent> for Event {
    type Error = InvalidEvent;

    fn try_from(message: &v1::CloudEvent) -> Result<Self, Self::Error> {
        Self::from_bytes(message.encode_to_vec().into())
    }
}

impl fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("type", &self.event_type())
            .field("source", &self.source())
            .field("id", &self.id())
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}
