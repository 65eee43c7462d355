//! Events against the generated message, and against everything that is none.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use prost::Message as _;

use super::v1::cloud_event::cloud_event_attribute_value::Attr;
use super::v1::cloud_event::{CloudEventAttributeValue, Data as Generated};
use super::*;

fn message() -> v1::CloudEvent {
    v1::CloudEvent {
        id: "1".to_owned(),
        source: "/shop".to_owned(),
        spec_version: "1.0".to_owned(),
        r#type: "order.placed".to_owned(),
        attributes: BTreeMap::new(),
        data: None,
    }
}

fn with(name: &str, attr: Option<Attr>) -> v1::CloudEvent {
    let attributes = BTreeMap::from([(name.to_owned(), CloudEventAttributeValue { attr })]);
    v1::CloudEvent { attributes, ..message() }
}

fn text(text: &str) -> Option<Attr> {
    Some(Attr::CeString(text.to_owned()))
}

fn fault(message: &v1::CloudEvent) -> String {
    Event::try_from(message).unwrap_err().to_string()
}

#[test]
fn what_is_built_is_what_others_read() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_890_123);
    let event = Event::builder("order.placed", "/shop")
        .id("1")
        .subject("order 7")
        .time(time)
        .partition_key("customer-3")
        .attribute("priority", -7)
        .attribute("priority", 5)
        .attribute("express", true)
        .attribute("signature", [1u8, 2].as_slice())
        .attribute("dataschema", Attribute::Uri("https://example.com/order"))
        .json(&serde_json::json!({"total": 12}))
        .unwrap()
        .build()
        .unwrap();
    let attributes = [
        ("subject", Attr::CeString("order 7".to_owned())),
        ("time", Attr::CeTimestamp(time.into())),
        ("partitionkey", Attr::CeString("customer-3".to_owned())),
        ("priority", Attr::CeInteger(5)),
        ("express", Attr::CeBoolean(true)),
        ("signature", Attr::CeBytes(vec![1, 2].into())),
        ("dataschema", Attr::CeUri("https://example.com/order".to_owned())),
        ("datacontenttype", Attr::CeString("application/json".to_owned())),
    ];
    let attributes = attributes
        .into_iter()
        .map(|(name, attr)| (name.to_owned(), CloudEventAttributeValue { attr: Some(attr) }))
        .collect();
    let data = Some(Generated::TextData(r#"{"total":12}"#.to_owned()));
    assert_eq!(
        Event::from_bytes(event.bytes().clone()).unwrap(),
        event,
        "its parts are where they are found"
    );
    assert_eq!(event.decode().unwrap(), v1::CloudEvent { attributes, data, ..message() });
    assert_eq!((event.id(), event.source(), event.event_type()), ("1", "/shop", "order.placed"));
    assert_eq!(event.partition_key(), Some("customer-3"));
    assert_eq!(event.attribute("priority"), Some(Attribute::Integer(5)));
    assert_eq!(event.attribute("nothing"), None);
    assert_eq!(event.data(), Data::Text(r#"{"total":12}"#));
}

#[test]
fn the_buffer_of_a_new_event_is_as_large_as_the_event() {
    let attribute =
        |builder: EventBuilder<'static>, name| builder.attribute(name, "x".repeat(200).leak() as &str);
    let builder = attribute(Event::builder("order.placed", "/shop"), "first").attribute("second", i32::MIN);
    for builder in [builder.clone(), builder.clone().data(vec![7; 500]), builder.message("a.B", &message())] {
        let event = builder.build().unwrap();
        assert_eq!(Event::from_bytes(event.bytes().clone()).unwrap(), event);
        let length = event.bytes().len();
        let bytes = event.into_bytes().try_into_mut().unwrap();
        assert_eq!(bytes.capacity(), length);
    }
}

#[test]
fn an_event_without_an_id_gets_one_of_its_own() {
    let ids = [(); 100].map(|()| Event::builder("a", "/b").build().unwrap().id().to_owned());
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    assert!(ids.iter().all(|id| id.len() == 36));
}

#[test]
fn data_of_each_kind_is_read() {
    let data = |data| Event::try_from(&v1::CloudEvent { data, ..message() }).unwrap();
    assert_eq!(data(None).data(), Data::None);
    assert_eq!(data(Some(Generated::BinaryData(vec![1, 2].into()))).data(), Data::Binary(&[1, 2]));
    assert_eq!(data(Some(Generated::TextData("hi".to_owned()))).data(), Data::Text("hi"));
    let any = prost_types::Any { type_url: "type.googleapis.com/a.B".to_owned(), value: vec![8, 1] };
    assert_eq!(data(Some(Generated::ProtoData(any.clone()))).data(), Data::Proto(&any.encode_to_vec()));
}

#[test]
fn faults_say_what_is_wrong() {
    for (message, part) in [
        (v1::CloudEvent { id: String::new(), ..message() }, "`id` is missing"),
        (v1::CloudEvent { source: String::new(), ..message() }, "`source` is missing"),
        (v1::CloudEvent { r#type: String::new(), ..message() }, "`type` is missing"),
        (v1::CloudEvent { spec_version: String::new(), ..message() }, "`spec_version` is missing"),
        (v1::CloudEvent { spec_version: "0.3".to_owned(), ..message() }, "is \"0.3\"; this is version 1.0"),
        (with("Subject", text("x")), "\"Subject\" is not 1 to 64 lower-case"),
        (with("sub_ject", text("x")), "\"sub_ject\" is not"),
        (with("", text("x")), "\"\" is not"),
        (with(&"x".repeat(65), text("x")), "is not 1 to 64"),
        (with("id", text("x")), "`id` is a field of the event"),
        (with("data", text("x")), "`data` is a field"),
        (with("time", text("2020-01-01T00:00:00Z")), "`time` is of type String; it must be Timestamp"),
        (with("subject", Some(Attr::CeInteger(1))), "`subject` is of type Integer; it must be String"),
        (with("dataschema", text("https://x")), "it must be URI"),
        (with("partitionkey", Some(Attr::CeBytes(vec![1].into()))), "it must be String"),
        (with("subject", text("")), "`subject` is empty"),
        (with("color", None), "`color`: it has no value"),
        (
            with("time", Some(Attr::CeTimestamp(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }))),
            "not a time between",
        ),
        (
            with("time", Some(Attr::CeTimestamp(prost_types::Timestamp { seconds: 0, nanos: -1 }))),
            "not a time between",
        ),
    ] {
        let fault = fault(&message);
        assert!(fault.contains(part), "{fault:?} should contain {part:?}");
    }
}

#[test]
fn a_builder_refuses_what_a_reader_would() {
    let build = |builder: EventBuilder<'_>| builder.build().unwrap_err().to_string();
    assert!(build(Event::builder("", "/shop")).contains("`type`"));
    assert!(build(Event::builder("a", "/shop").id("")).contains("`id`"));
    assert!(build(Event::builder("a", "/shop").attribute("Bad", 1)).contains("\"Bad\""));
    assert!(build(Event::builder("a", "/shop").attribute("time", 1)).contains("must be Timestamp"));
}

#[test]
fn bytes_that_are_no_event_are_refused() {
    for bytes in [b"".as_slice(), b"\xff", b"hello", &[0x0a, 5, b'x'], &[0x0a, 1, 0xff]] {
        assert!(EventRef::check(bytes).is_err(), "{bytes:x?}");
    }
    // Strangers' text is cut in messages.
    let fault = fault(&v1::CloudEvent { spec_version: "9".repeat(10_000), ..message() });
    assert!(fault.len() < 200, "{fault}");
}

#[test]
fn of_a_field_that_comes_twice_the_last_one_counts() {
    let mut bytes = message().encode_to_vec();
    bytes.extend(v1::CloudEvent { id: "2".to_owned(), ..Default::default() }.encode_to_vec());
    let event = Event::from_bytes(bytes.into()).unwrap();
    assert_eq!((event.id(), event.decode().unwrap().id.as_str()), ("2", "2"));
}

fn attr() -> impl Strategy<Value = Attr> {
    prop_oneof![
        any::<bool>().prop_map(Attr::CeBoolean),
        any::<i32>().prop_map(Attr::CeInteger),
        ".*".prop_map(Attr::CeString),
        any::<Vec<u8>>().prop_map(|bytes| Attr::CeBytes(bytes.into())),
        ".*".prop_map(Attr::CeUri),
        ".*".prop_map(Attr::CeUriRef),
        (0..1i64 << 33, 0..1_000_000_000)
            .prop_map(|(seconds, nanos)| Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos })),
    ]
}

fn event() -> impl Strategy<Value = v1::CloudEvent> {
    let extension =
        ("x[a-z0-9]{0,10}", attr().prop_map(|attr| CloudEventAttributeValue { attr: Some(attr) }));
    let attributes = prop::collection::btree_map(extension.0, extension.1, 0..4);
    let data = prop_oneof![
        any::<Vec<u8>>().prop_map(|bytes| Generated::BinaryData(bytes.into())),
        ".*".prop_map(Generated::TextData),
        (".*", any::<Vec<u8>>())
            .prop_map(|(type_url, value)| Generated::ProtoData(prost_types::Any { type_url, value })),
    ];
    // Many as they usually are.
    let text = || prop_oneof![".+", "[ -~]{1,40}"];
    (text(), text(), text(), attributes, prop::option::of(data), prop::option::of(text())).prop_map(
        |(id, source, event_type, mut attributes, data, key)| {
            if let Some(key) = key {
                let attr = Some(Attr::CeString(key));
                attributes.insert("partitionkey".to_owned(), CloudEventAttributeValue { attr });
            }
            v1::CloudEvent { id, source, r#type: event_type, attributes, data, ..message() }
        },
    )
}

proptest! {
    #[test]
    fn a_sound_event_is_read_as_a_decoder_reads_it(message in event()) {
        let event = Event::try_from(&message).unwrap();
        prop_assert_eq!(event.id(), &message.id);
        prop_assert_eq!(event.source(), &message.source);
        prop_assert_eq!(event.event_type(), &message.r#type);
        let key = message.attributes.get("partitionkey").and_then(|value| match &value.attr {
            Some(Attr::CeString(key)) => Some(key.as_str()),
            _ => None,
        });
        prop_assert_eq!(event.partition_key(), key);
        prop_assert_eq!(event.as_ref().attributes().count(), message.attributes.len());
        prop_assert_eq!(event.decode().unwrap(), message);
    }

    #[test]
    fn looking_quickly_finds_what_looking_does(
        message in event(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = message.encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let slow = check::check_any_order(&bytes);
        if let Some(quick) = check::quick::look::<true>(&bytes) {
            prop_assert_eq!(Ok(quick), slow.clone());
        }
        if let (Some(quick), Ok(slow)) = (check::quick::look::<false>(&bytes), slow) {
            prop_assert_eq!(quick, slow);
        }
    }

    #[test]
    fn what_is_let_through_every_decoder_reads(
        message in event(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut bytes = message.encode_to_vec();
        for (at, byte, change) in changes {
            if bytes.is_empty() {
                continue;
            }
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        if let Ok(event) = Event::from_bytes(bytes.into()) {
            let decoded = event.decode();
            prop_assert!(decoded.is_ok(), "{:?}", decoded);
            let decoded = decoded.unwrap();
            prop_assert_eq!(event.id(), decoded.id);
            prop_assert_eq!(event.source(), decoded.source);
            prop_assert_eq!(event.event_type(), decoded.r#type);
        }
    }
}
