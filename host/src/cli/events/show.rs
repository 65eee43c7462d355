//! How an event is printed: a line for people, a document for everybody else.

use std::time::SystemTime;

use plugmesh::cloudevents::PARTITION_KEY;
use plugmesh::cloudevents::v1::CloudEvent;
use plugmesh::cloudevents::v1::cloud_event::Data;
use plugmesh::cloudevents::v1::cloud_event::cloud_event_attribute_value::Attr;
use prost_types::Timestamp;

use super::json_event::{media_type, put, put_raw, text_of, to_json};
use crate::cli::error::CliError;
use crate::cli::human::{self, printable};
use crate::cli::terminal::{Paint, Terminal, Tone};

/// Characters of the data that are on a line: more would hide the next event.
const MAX_SHOWN: usize = 400;

/// Where an event is in the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded {
    pub(super) place: u64,
    pub(super) time: Option<Timestamp>,
}

/// Prints an event, with its place in the journal if that is known.
pub(super) fn print(
    event: &CloudEvent,
    recorded: Option<Recorded>,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    if terminal.is_read_by_a_person() {
        return terminal.line(line(event, recorded, terminal.paint()));
    }
    let mut json = to_json(event);
    if let Some(Recorded { place, time }) = recorded {
        let event = std::mem::replace(&mut json, "{".to_owned());
        put(&mut json, "place", &place.to_string());
        put(&mut json, "recorded", &human::moment(time));
        put_raw(&mut json, "event", &event);
        json.push('}');
    }
    json.push('\n');
    terminal.raw(json.as_bytes())
}

/// Time, type, source, subject, key and data. An event that does not say its time has that of the journal, or of now.
fn line(event: &CloudEvent, recorded: Option<Recorded>, paint: Paint) -> String {
    let attribute = |name| event.attributes.get(name);
    let said = match attribute("time").and_then(|value| value.attr.as_ref()) {
        Some(Attr::CeTimestamp(time)) => Some(*time),
        _ => None,
    };
    let time = said.or(recorded.and_then(|recorded| recorded.time));
    let time = human::moment(Some(time.unwrap_or_else(|| SystemTime::now().into())));
    let place = recorded.map(|recorded| format!("{:>6} ", recorded.place)).unwrap_or_default();
    let mut line = format!(
        "{} {} {}",
        paint.tone(Tone::Faint, format_args!("{place}{time}")),
        paint.tone(Tone::Good, paint.bold(printable(&event.r#type))),
        printable(&event.source),
    );
    for (name, label) in [("subject", "subject"), (PARTITION_KEY, "key")] {
        if let Some(value) = attribute(name) {
            let value = serde_json::Value::from(text_of(value).into_owned());
            let mut shown = String::new();
            human::attributes(&mut shown, label, &value);
            line.push_str(&paint.tone(Tone::Notice, shown));
        }
    }
    let data = data(event);
    if !data.is_empty() {
        line.push(' ');
        line.push_str(&data);
    }
    line
}

/// What it says, on a line.
fn data(event: &CloudEvent) -> String {
    let media_type = printable(&media_type(event));
    let opaque = |kind: &str, bytes: usize| format!("({}{bytes} bytes)", [kind, " "].concat().trim_start());
    match &event.data {
        None => String::new(),
        Some(Data::TextData(text)) => shortened(text),
        Some(Data::BinaryData(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) if super::data::is_json(&media_type) => shortened(text),
            _ => opaque(&media_type, bytes.len()),
        },
        Some(Data::ProtoData(any)) => {
            let name = any.type_url.rsplit('/').next().unwrap_or_default();
            opaque(&printable(name), any.value.len())
        }
    }
}

/// The beginning of a text, with line ends and the space around them as one space.
fn shortened(text: &str) -> String {
    let mut joined = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if joined.chars().count() > MAX_SHOWN {
            break;
        }
        let gap = if joined.is_empty() { "" } else { " " };
        joined.push_str(gap);
        joined.push_str(line);
    }
    match joined.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => {
            let (shown, _) = joined.split_at(end);
            format!("{}… ({} bytes)", printable(shown), text.len())
        }
        None => printable(&joined),
    }
}

#[cfg(test)]
mod tests {
    use plugmesh::cloudevents::{Attribute, Event, EventBuilder};

    use super::*;

    fn shown(event: EventBuilder<'_>, recorded: Option<Recorded>) -> String {
        let time = Attribute::Timestamp(Timestamp { seconds: 7, nanos: 0 });
        let event = event.attribute("time", time).build().unwrap().decode().unwrap();
        line(&event, recorded, Paint::none())
    }

    #[test]
    fn an_event_is_a_line() {
        let event = || Event::builder("order.placed", "/shop");
        let order = event().subject("ada \u{1b}[2J").partition_key("c3").text("{\n  \"a\": 1\n}\n");
        assert_eq!(
            shown(order, None),
            r#"1970-01-01T00:00:07.000Z order.placed /shop subject="ada \u001b[2J" key=c3 { "a": 1 }"#
        );
        let recorded = Recorded { place: 12, time: None };
        let image = event().content_type("image/png").data(&b"123"[..]);
        assert_eq!(
            shown(image, Some(recorded)),
            "    12 1970-01-01T00:00:07.000Z order.placed /shop (image/png 3 bytes)"
        );
        let long = shown(event().text("ä".repeat(500)), None);
        assert!(long.ends_with("ä… (1000 bytes)") && long.matches('ä').count() == MAX_SHOWN, "{long}");
    }
}
