//! Makes events.

use std::borrow::Cow;
use std::ops::Range;

use bytes::BytesMut;
use prost::Message;
use serde::Serialize;
use uuid::Uuid;

use super::attribute::Attribute;
use super::check::{DataKind, InvalidEvent, MAX_EVENT, Parts, Span, check_name, check_value};
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

#[derive(Clone, Debug)]
enum Body<'a> {
    None,
    Binary(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    Proto { type_url: String, value: Vec<u8> },
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
    pub fn message(mut self, full_name: &str, data: &impl Message) -> Self {
        self.data =
            Body::Proto { type_url: format!("type.googleapis.com/{full_name}"), value: data.encode_to_vec() };
        self.content_type("application/protobuf")
    }
}

impl EventBuilder<'_> {
    /// The event.
    ///
    /// # Errors
    /// A part of it is not valid; the error says which, and why.
    pub fn build(self) -> Result<Event, BuildError> {
        for (name, value) in &self.attributes {
            check_name(name)?;
            check_value(name, value)?;
        }
        let mut id = Uuid::encode_buffer();
        let id = self.id.unwrap_or_else(|| Uuid::now_v7().hyphenated().encode_lower(&mut id));
        for (text, name) in [(id, "id"), (self.source, "source"), (self.event_type, "type")] {
            if text.is_empty() {
                return Err(InvalidEvent::Missing(name).into());
            }
        }
        let length = self.encoded_len(id);
        if length > MAX_EVENT {
            return Err(InvalidEvent::TooLarge.into());
        }
        let mut bytes = BytesMut::with_capacity(length);
        let parts = self.put(id, &mut bytes);
        Ok(Event::from_parts(bytes.freeze(), parts))
    }

    fn encoded_len(&self, id: &str) -> usize {
        let texts = [id, self.source, SPEC_VERSION, self.event_type].map(|text| field_len(text.len()));
        let attributes = self.attributes.iter().map(|(name, value)| field_len(entry_len(name, value)));
        let data = match &self.data {
            Body::None => 0,
            Body::Binary(bytes) => field_len(bytes.len()),
            Body::Text(text) => field_len(text.len()),
            Body::Proto { type_url, value } => field_len(field_len(type_url.len()) + field_len(value.len())),
        };
        texts.iter().sum::<usize>() + attributes.sum::<usize>() + data
    }

    /// Writes the event, and says where its parts are: what was checked before need not be looked for.
    fn put(&self, id: &str, to: &mut BytesMut) -> Parts {
        let mut parts = Parts {
            id: put_text(field::ID, id, to),
            source: put_text(field::SOURCE, self.source, to),
            ..Parts::default()
        };
        put_text(field::SPEC_VERSION, SPEC_VERSION, to);
        parts.event_type = put_text(field::TYPE, self.event_type, to);
        for (name, value) in &self.attributes {
            let written = put_attribute(name, value, to);
            if *name == PARTITION_KEY {
                parts.partition_key = written.into();
            }
        }
        let length = match &self.data {
            Body::None => return parts,
            Body::Binary(bytes) => {
                put_bytes(field::BINARY_DATA, bytes, to);
                parts.data_kind = DataKind::Binary;
                bytes.len()
            }
            Body::Text(text) => {
                put_bytes(field::TEXT_DATA, text.as_bytes(), to);
                parts.data_kind = DataKind::Text;
                text.len()
            }
            Body::Proto { type_url, value } => {
                let length = field_len(type_url.len()) + field_len(value.len());
                put_head(field::PROTO_DATA, length, to);
                put_bytes(1, type_url.as_bytes(), to);
                put_bytes(2, value, to);
                parts.data_kind = DataKind::Proto;
                length
            }
        };
        parts.data = (to.len() - length..to.len()).into();
        parts
    }
}

/// Writes a string, and says where it is.
fn put_text(number: u32, text: &str, to: &mut BytesMut) -> Span {
    put_bytes(number, text.as_bytes(), to);
    (to.len() - text.len()..to.len()).into()
}

fn entry_len(name: &str, value: &Attribute<'_>) -> usize {
    field_len(name.len()) + field_len(value.encoded_len())
}

/// Writes an attribute, and says where its value is.
pub(super) fn put_attribute(name: &str, value: &Attribute<'_>, to: &mut BytesMut) -> Range<usize> {
    put_head(field::ATTRIBUTES, entry_len(name, value), to);
    put_bytes(field::NAME, name.as_bytes(), to);
    put_head(field::VALUE, value.encoded_len(), to);
    let begin = to.len();
    value.put(to);
    begin..to.len()
}
