//! Makes events.

use std::borrow::Cow;

use bytes::BytesMut;
use prost::Message;
use prost_types::Any;
use serde::Serialize;
use uuid::Uuid;

use super::attribute::Attribute;
use super::check::{InvalidEvent, MAX_EVENT, check_name, check_value};
use super::event::Event;
use super::{PARTITION_KEY, SPEC_VERSION, field};
use crate::wire::{field_len, put_bytes, put_head};

/// Why an event could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A part of it is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidEvent),
    /// Its data cannot be written as JSON.
    #[error("the data cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// An event in the making: [`Event::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EventBuilder<'a> {
    event_type: &'a str,
    source: &'a str,
    id: Option<&'a str>,
    attributes: Vec<(&'a str, Attribute<'a>)>,
    data: Body<'a>,
}

/// An event that is settled, and not written yet: [`EventBuilder::draft`].
///
/// Who sends many writes each straight into a frame, without memory of its own for it.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    builder: &'a EventBuilder<'a>,
    id: Id<'a>,
    length: usize,
}

#[derive(Clone, Debug)]
enum Id<'a> {
    Given(&'a str),
    New(Box<str>),
}

#[derive(Clone, Debug)]
enum Body<'a> {
    None,
    Binary(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    Proto(Box<Any>),
}

impl<'a> EventBuilder<'a> {
    pub(super) fn new(event_type: &'a str, source: &'a str) -> Self {
        Self { event_type, source, id: None, attributes: Vec::new(), data: Body::None }
    }

    /// What tells it from other events of its source. Unless it is given, a UUID that begins with the time (version 7).
    pub fn id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// What it is about, in the context of its source.
    pub fn subject(self, subject: &'a str) -> Self {
        self.attribute("subject", subject)
    }

    /// When it happened.
    pub fn time(self, time: std::time::SystemTime) -> Self {
        self.attribute("time", time)
    }

    /// Events with the same key are handled in order, one at a time.
    pub fn partition_key(self, key: &'a str) -> Self {
        self.attribute(PARTITION_KEY, key)
    }

    /// The media type of its data.
    pub fn content_type(self, media_type: &'a str) -> Self {
        self.attribute("datacontenttype", media_type)
    }

    /// An optional attribute or an extension. Said twice, the last one counts.
    pub fn attribute(mut self, name: &'a str, value: impl Into<Attribute<'a>>) -> Self {
        let value = value.into();
        match self.attributes.iter_mut().find(|(said, _)| *said == name) {
            Some((_, said)) => *said = value,
            None => self.attributes.push((name, value)),
        }
        self
    }

    /// Bytes as its data.
    pub fn data(mut self, data: impl Into<Cow<'a, [u8]>>) -> Self {
        self.data = Body::Binary(data.into());
        self
    }

    /// Text as its data.
    pub fn text(mut self, data: impl Into<Cow<'a, str>>) -> Self {
        self.data = Body::Text(data.into());
        self
    }

    /// A value as JSON as its data, with `application/json` as its media type.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, data: &T) -> Result<Self, BuildError> {
        let json = serde_json::to_string(data)?;
        Ok(self.content_type("application/json").text(json))
    }

    /// A message as its data, with `application/protobuf` as its media type. `full_name` is that of the message, such as
    /// `shop.v1.OrderPlaced`.
    pub fn message(self, full_name: &str, data: &impl Message) -> Self {
        self.encoded_message(full_name, data.encode_to_vec())
    }

    /// The same of a message that is encoded already.
    pub fn encoded_message(mut self, full_name: &str, value: Vec<u8>) -> Self {
        self.data =
            Body::Proto(Box::new(Any { type_url: format!("type.googleapis.com/{full_name}"), value }));
        self.content_type("application/protobuf")
    }
}

impl EventBuilder<'_> {
    /// The event.
    ///
    /// # Errors
    /// A part of it is not valid; the error says which, and why.
    pub fn build(self) -> Result<Event, BuildError> {
        let draft = self.draft()?;
        let mut bytes = BytesMut::with_capacity(draft.length);
        draft.put(&mut bytes);
        Ok(Event::from_checked_bytes(bytes.freeze()))
    }

    /// The event, to be written to where it is sent from.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    #[inline]
    pub fn draft(&self) -> Result<Draft<'_>, BuildError> {
        for (name, value) in &self.attributes {
            check_name(name)?;
            check_value(name, value)?;
        }
        let id = self.id.map_or_else(Id::new, Id::Given);
        for (text, name) in [(id.as_str(), "id"), (self.source, "source"), (self.event_type, "type")] {
            if text.is_empty() {
                return Err(InvalidEvent::Missing(name).into());
            }
        }
        let length = self.encoded_len(id.as_str());
        if length > MAX_EVENT {
            return Err(InvalidEvent::TooLarge.into());
        }
        Ok(Draft { builder: self, id, length })
    }

    #[inline]
    fn encoded_len(&self, id: &str) -> usize {
        let texts = [id, self.source, SPEC_VERSION, self.event_type].map(|text| field_len(text.len()));
        let attributes = self.attributes.iter().map(|(name, value)| field_len(entry_len(name, value)));
        let data = match &self.data {
            Body::None => 0,
            Body::Binary(bytes) => field_len(bytes.len()),
            Body::Text(text) => field_len(text.len()),
            Body::Proto(any) => field_len(field_len(any.type_url.len()) + field_len(any.value.len())),
        };
        texts.iter().sum::<usize>() + attributes.sum::<usize>() + data
    }

    #[inline]
    fn put(&self, id: &str, to: &mut BytesMut) {
        put_bytes(field::ID, id.as_bytes(), to);
        put_bytes(field::SOURCE, self.source.as_bytes(), to);
        put_bytes(field::SPEC_VERSION, SPEC_VERSION.as_bytes(), to);
        put_bytes(field::TYPE, self.event_type.as_bytes(), to);
        for (name, value) in &self.attributes {
            put_attribute(name, value, to);
        }
        match &self.data {
            Body::None => {}
            Body::Binary(bytes) => put_bytes(field::BINARY_DATA, bytes, to),
            Body::Text(text) => put_bytes(field::TEXT_DATA, text.as_bytes(), to),
            Body::Proto(any) => {
                let Any { type_url, value } = &**any;
                put_head(field::PROTO_DATA, field_len(type_url.len()) + field_len(value.len()), to);
                put_bytes(1, type_url.as_bytes(), to);
                put_bytes(2, value, to);
            }
        }
    }
}

impl Draft<'_> {
    /// Bytes of the event.
    pub fn encoded_len(&self) -> usize {
        self.length
    }

    /// Writes it.
    #[inline]
    pub(crate) fn put(&self, to: &mut BytesMut) {
        self.builder.put(self.id.as_str(), to);
    }
}

impl Id<'_> {
    fn new() -> Self {
        let mut text = Uuid::encode_buffer();
        Self::New((&*Uuid::now_v7().hyphenated().encode_lower(&mut text)).into())
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Given(id) => id,
            Self::New(id) => id,
        }
    }
}

fn entry_len(name: &str, value: &Attribute<'_>) -> usize {
    field_len(name.len()) + field_len(value.encoded_len())
}

/// Writes an attribute.
pub(super) fn put_attribute(name: &str, value: &Attribute<'_>, to: &mut BytesMut) {
    put_head(field::ATTRIBUTES, entry_len(name, value), to);
    put_bytes(field::NAME, name.as_bytes(), to);
    put_head(field::VALUE, value.encoded_len(), to);
    value.put(to);
}
