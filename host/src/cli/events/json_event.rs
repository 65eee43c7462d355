//! The JSON format of CloudEvents (structured mode), on one line.

use std::borrow::Cow;
use std::fmt::Write as _;

use plugmesh::cloudevents::Attribute;
use plugmesh::cloudevents::v1::CloudEvent;
use plugmesh::cloudevents::v1::cloud_event::cloud_event_attribute_value::Attr;
use plugmesh::cloudevents::v1::cloud_event::{CloudEventAttributeValue, Data};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::data::is_json;

/// An event in the JSON format of CloudEvents.
///
/// Data that is JSON is part of the document as its publisher wrote it, but for white space: neither the order of its
/// members nor the digits of its numbers change.
pub(super) fn to_json(event: &CloudEvent) -> String {
    let mut json = String::from("{");
    let texts = [
        ("specversion", &event.spec_version),
        ("id", &event.id),
        ("source", &event.source),
        ("type", &event.r#type),
    ];
    texts.into_iter().for_each(|(name, text)| put(&mut json, name, text));
    for (name, value) in &event.attributes {
        match value.attr.as_ref() {
            Some(Attr::CeBoolean(value)) => put(&mut json, name, value),
            Some(Attr::CeInteger(value)) => put(&mut json, name, value),
            Some(_) => put(&mut json, name, &text_of(value)),
            None => {}
        }
    }
    match &event.data {
        None => {}
        Some(Data::TextData(text)) => match as_json(event, text.as_bytes()) {
            Some(data) => put_raw(&mut json, "data", &data),
            None => put(&mut json, "data", text),
        },
        Some(Data::BinaryData(bytes)) => match as_json(event, bytes) {
            Some(data) => put_raw(&mut json, "data", &data),
            None => put(&mut json, "data_base64", &base64(bytes)),
        },
        Some(Data::ProtoData(any)) => {
            // As the protobuf format of CloudEvents has it for those who know nothing of `Any`.
            if !event.attributes.contains_key("dataschema") {
                put(&mut json, "dataschema", &any.type_url);
            }
            put(&mut json, "data_base64", &base64(&any.value));
        }
    }
    json.push('}');
    json
}

/// The value of an attribute as the specification writes it; empty when there is none.
pub(super) fn text_of(value: &CloudEventAttributeValue) -> Cow<'_, str> {
    match &value.attr {
        None => Cow::Borrowed(""),
        Some(Attr::CeBoolean(value)) => Attribute::Boolean(*value).to_text(),
        Some(Attr::CeInteger(value)) => Attribute::Integer(*value).to_text(),
        Some(Attr::CeString(text) | Attr::CeUri(text) | Attr::CeUriRef(text)) => Cow::Borrowed(text),
        Some(Attr::CeBytes(bytes)) => Attribute::Bytes(bytes).to_text(),
        Some(Attr::CeTimestamp(time)) => Attribute::Timestamp(*time).to_text(),
    }
}

/// Its media type; empty when nobody has said it.
pub(super) fn media_type(event: &CloudEvent) -> Cow<'_, str> {
    event.attributes.get("datacontenttype").map(text_of).unwrap_or_default()
}

/// Adds a member to an object that is not closed yet.
pub(super) fn put(json: &mut String, name: &str, value: &(impl Serialize + ?Sized)) {
    // What is written here are strings, numbers and truth values, which always can be.
    put_raw(json, name, &serde_json::to_string(value).unwrap_or_default());
}

/// Adds a member whose value is JSON already.
pub(super) fn put_raw(json: &mut String, name: &str, value: &str) {
    let comma = if json.ends_with('{') { "" } else { "," };
    let name = serde_json::Value::from(name);
    let _ = write!(json, "{comma}{name}:{value}");
}

fn base64(bytes: &[u8]) -> Cow<'_, str> {
    Attribute::Bytes(bytes).to_text()
}

/// The data without white space, when it is JSON and meant to be. Without a media type it is meant to be: that is what
/// the specification says.
fn as_json(event: &CloudEvent, data: &[u8]) -> Option<String> {
    let media_type = media_type(event);
    if !media_type.is_empty() && !is_json(&media_type) {
        return None;
    }
    let text = std::str::from_utf8(data).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let is_escaped = std::mem::replace(&mut escaped, false);
        match c {
            '"' if !is_escaped => in_string = !in_string,
            '\\' if in_string && !is_escaped => escaped = true,
            ' ' | '\t' | '\n' | '\r' => return in_string,
            _ => {}
        }
        true
    };
    Some(text.chars().filter(keep).collect())
}

#[cfg(test)]
mod tests {
    use plugmesh::cloudevents::Event;
    use plugmesh::cloudevents::EventBuilder;
    use prost_types::Timestamp;

    use super::*;

    fn json(event: EventBuilder<'_>) -> String {
        to_json(&event.id("7").build().unwrap().decode().unwrap())
    }

    fn event() -> EventBuilder<'static> {
        Event::builder("order.placed", "/shop")
    }

    /// What `json` prints behind the attributes that every event has.
    fn rest(event: EventBuilder<'_>) -> String {
        let json = json(event);
        let common = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed""#;
        json.strip_prefix(common).unwrap_or_else(|| panic!("{json}")).to_owned()
    }

    #[test]
    fn attributes_keep_their_types() {
        let event = event()
            .attribute("flag", true)
            .attribute("count", -3)
            .attribute("bytes", &b"\x00\xff"[..])
            .attribute("time", Attribute::Timestamp(Timestamp { seconds: 7, nanos: 5_000_000 }))
            .subject("say \"hi\"\n");
        let expected = r#","bytes":"AP8=","count":-3,"flag":true,"subject":"say \"hi\"\n","time":"1970-01-01T00:00:07.005Z"}"#;
        assert_eq!(rest(event), expected);
    }

    #[test]
    fn data_that_is_json_stays_as_it_is_on_one_line() {
        let data = "{ \"z\": 12345678901234567890123.0,\r\n\t\"a\": \" \\\" \\\\\", \"b\": [ 1 ] }";
        let compact = r#"{"z":12345678901234567890123.0,"a":" \" \\","b":[1]}"#;
        assert_eq!(rest(event().text(data)), format!(",\"data\":{compact}}}"));
        let declared = event().content_type("application/vnd.shop+json").data(data.as_bytes());
        assert_eq!(
            rest(declared),
            format!(",\"datacontenttype\":\"application/vnd.shop+json\",\"data\":{compact}}}")
        );
    }

    #[test]
    fn other_data_is_a_string_or_base64() {
        assert_eq!(rest(event().text("hello")), r#","data":"hello"}"#);
        assert_eq!(
            rest(event().content_type("text/plain").text("7")),
            r#","datacontenttype":"text/plain","data":"7"}"#
        );
        assert_eq!(rest(event().data(&b"\xff"[..])), r#","data_base64":"/w=="}"#);
        let message = event().message("shop.v1.Order", &Timestamp { seconds: 1, nanos: 0 });
        let expected = concat!(
            r#","datacontenttype":"application/protobuf","#,
            r#""dataschema":"type.googleapis.com/shop.v1.Order","data_base64":"CAE="}"#
        );
        assert_eq!(rest(message), expected);
        assert_eq!(rest(event()), "}");
    }
}
