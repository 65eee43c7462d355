//! `events publish`.

use std::time::SystemTime;

use plugmesh::cloudevents::{Attribute, Event};
use plugmesh::event::v1::{EventResult, PublishRequest};
use prost_types::Timestamp;
use serde_json::json;
use tonic::{Code, Status};

use super::data;
use super::error::EventsError;
use crate::cli::args::events::PublishArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::printable;
use crate::cli::terminal::{Terminal, Tone};

pub(super) async fn publish(
    host: &Host,
    args: &PublishArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let data = data::read(args).await?;
    let event = event(args, data)?;
    let message = event.decode().map_err(|error| Status::internal(error.to_string()))?;
    let ack = args.ack.map(|ack| ack.to_wire()).unwrap_or_default();
    let request = PublishRequest { events: vec![message], ack: ack as i32 };
    let answer = host.events().publish(request).await?.into_inner();
    let result = answer.results.into_iter().next().ok_or(CliError::Incomplete("result"))?;
    match Code::from(result.code) {
        Code::Ok => done(&event, &result, terminal),
        code => Err(Status::new(code, result.message).into()),
    }
}

fn event(args: &PublishArgs, data: Option<Vec<u8>>) -> Result<Event, EventsError> {
    let mut event = Event::builder(&args.event_type, &args.source).time(SystemTime::now());
    if let Some(id) = &args.id {
        event = event.id(id);
    }
    if let Some(subject) = &args.subject {
        event = event.subject(subject);
    }
    if let Some(key) = &args.partition_key {
        event = event.partition_key(key);
    }
    if let Some(data) = data {
        event = event.content_type(&args.content_type);
        event = match String::from_utf8(data) {
            Ok(text) => event.text(text),
            Err(binary) => event.data(binary.into_bytes()),
        };
    }
    for (name, value) in &args.attributes {
        let value = match name.as_str() {
            "time" => {
                let time: Timestamp = value.parse().map_err(|_| EventsError::Time(value.clone()))?;
                Attribute::Timestamp(time)
            }
            "dataschema" => Attribute::Uri(value),
            _ => Attribute::String(value),
        };
        event = event.attribute(name, value);
    }
    event.build().map_err(EventsError::Invalid)
}

/// Says what became of an event that was not refused.
fn done(event: &Event, result: &EventResult, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let EventResult { duplicate, given_up, .. } = result;
    if terminal.is_json() {
        terminal.json(&json!({
            "id": event.id(),
            "source": event.source(),
            "type": event.event_type(),
            "duplicate": duplicate,
            "givenUp": given_up,
        }))?;
    } else {
        let [topic, id, source] = [event.event_type(), event.id(), event.source()].map(printable);
        let given_up = printable(&given_up.join(", "));
        let (tone, what, rest) = match (duplicate, given_up.as_str()) {
            (true, _) => {
                (Tone::Notice, "duplicate", format!("{source} has published this id a short time ago"))
            }
            (false, "") => (Tone::Good, "published", String::new()),
            (false, names) => (Tone::Bad, "published", format!("given up by {names}")),
        };
        let what = terminal.paint().tone(tone, what);
        let colon = if rest.is_empty() { "" } else { ": " };
        terminal.line(format_args!("{what} {topic} {id}{colon}{rest}"))?;
    }
    // Whoever asks for it to be handled wants to know when it was not.
    Ok(if given_up.is_empty() { Exit::OK } else { Exit::FAILURE })
}
