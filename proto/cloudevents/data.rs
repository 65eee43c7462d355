//! What an event says, as a value.

use bytes::BytesMut;
use prost::Message;
use serde::de::DeserializeOwned;

use super::attribute::Attribute;
use super::builder::put_attribute;
use super::check::{InvalidEvent, check_name, check_value};
use super::event::{Data, Event};

/// Why the data of an event is not the value that somebody wants.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It has none.
    #[error("the event has no data")]
    None,
    /// It is something else than JSON.
    #[error("the data of the event is a protobuf message and not JSON")]
    NotJson,
    /// It is something else than a message.
    #[error("the data of the event is text and not a protobuf message")]
    NotAMessage,
    /// It is not the JSON of such a value.
    #[error("the data of the event is not the JSON that is expected: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not such a message.
    #[error("the data of the event is not the message that is expected: {0}")]
    Message(#[from] prost::DecodeError),
}

impl Event {
    /// Its data, read as JSON.
    ///
    /// # Errors
    /// It has none, or it is not the JSON of such a value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, DataError> {
        match self.data() {
            Data::None => Err(DataError::None),
            Data::Text(text) => Ok(serde_json::from_str(text)?),
            Data::Binary(bytes) => Ok(serde_json::from_slice(bytes)?),
            Data::Proto(_) => Err(DataError::NotJson),
        }
    }

    /// Its data, read as a protobuf message: of a `google.protobuf.Any`, whatever its type is called, or of bytes.
    ///
    /// # Errors
    /// It has none, or it is not such a message.
    pub fn message<M: Message + Default>(&self) -> Result<M, DataError> {
        match self.data() {
            Data::None => Err(DataError::None),
            Data::Text(_) => Err(DataError::NotAMessage),
            Data::Binary(bytes) => Ok(M::decode(bytes)?),
            Data::Proto(any) => Ok(M::decode(&*prost_types::Any::decode(any)?.value)?),
        }
    }

    /// The event with an attribute besides those that it has. One that it has already stays as it is.
    ///
    /// # Errors
    /// The name or the value is not valid.
    pub fn with_attribute<'a>(
        &self,
        name: &'a str,
        value: impl Into<Attribute<'a>>,
    ) -> Result<Self, InvalidEvent> {
        let value = value.into();
        check_name(name)?;
        check_value(name, &value)?;
        if self.attribute(name).is_some() {
            return Ok(self.clone());
        }
        // Fields may come in any order, so that it can be behind all others.
        let mut bytes = BytesMut::from(&self.bytes()[..]);
        put_attribute(name, &value, &mut bytes);
        Self::from_bytes(bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn values_come_out_as_they_went_in() {
        let base = || Event::builder("t", "/s");
        let event = base().json(&json!({"a": [1, 2]})).unwrap().build().unwrap();
        assert_eq!(event.json::<Value>().unwrap(), json!({"a": [1, 2]}));
        assert!(matches!(event.message::<prost_types::Duration>(), Err(DataError::NotAMessage)));
        let duration = prost_types::Duration { seconds: 3, nanos: 7 };
        let event = base().message("google.protobuf.Duration", &duration).build().unwrap();
        assert_eq!(event.message::<prost_types::Duration>().unwrap(), duration);
        assert!(matches!(event.json::<Value>(), Err(DataError::NotJson)));
        let event = base().data(duration.encode_to_vec()).build().unwrap();
        assert_eq!(event.message::<prost_types::Duration>().unwrap(), duration);
        let event = base().data(b"[1]".as_slice()).build().unwrap();
        assert_eq!(event.json::<Vec<u8>>().unwrap(), [1]);
        assert!(matches!(base().build().unwrap().json::<Value>(), Err(DataError::None)));
        assert!(matches!(event.json::<String>(), Err(DataError::Json(_))));
    }

    #[test]
    fn an_attribute_is_added_once() {
        let event = Event::builder("t", "/s").id("1").data(b"x".as_slice()).build().unwrap();
        let traced = event.with_attribute("traceparent", "00-a-b-01").unwrap();
        assert_eq!(traced.attribute("traceparent"), Some(Attribute::from("00-a-b-01")));
        assert_eq!((traced.id(), traced.data()), ("1", Data::Binary(b"x")));
        assert_eq!(traced.with_attribute("traceparent", "00-c-d-01").unwrap(), traced);
        assert!(event.with_attribute("Trace-Parent", "x").is_err());
        let keyed = event.with_attribute("partitionkey", "k").unwrap();
        assert_eq!(keyed.partition_key(), Some("k"));
    }
}
