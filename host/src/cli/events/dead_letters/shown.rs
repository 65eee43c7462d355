//! How dead letters are printed.

use std::time::SystemTime;

use comfy_table::{Cell, Table};
use plugmesh::event::v1::{Cause, DeadLetter};

use super::super::json_event::{put, put_raw, to_json};
use crate::cli::commands::facts;
use crate::cli::error::CliError;
use crate::cli::human::{self, first_line};
use crate::cli::terminal::{self, Terminal, Tone, cell, number};

/// A table for [`row`]s.
pub(super) fn table() -> Table {
    terminal::table(&["ID", "SUBSCRIPTION", "TYPE", "EVENT", "GIVEN UP", "ATTEMPTS", "CAUSE", "REASON"])
}

/// A line about a letter.
pub(super) fn row(letter: &DeadLetter) -> Vec<Cell> {
    let (topic, id) = letter.event.as_ref().map(|event| (&*event.r#type, &*event.id)).unwrap_or_default();
    vec![
        number(letter.id),
        cell(&letter.subscription),
        cell(topic),
        cell(id),
        cell(human::age(letter.given_up, SystemTime::now())),
        number(letter.attempts.into()),
        cell(cause(letter)),
        cell(first_line(&letter.reason)),
    ]
}

/// All of a letter.
pub(super) fn whole(letter: &DeadLetter, terminal: &mut Terminal) -> Result<(), CliError> {
    if terminal.is_json() {
        return terminal.raw((json(letter) + "\n").as_bytes());
    }
    let known = [
        ("id", Tone::Plain, letter.id.to_string()),
        ("gave up", Tone::Plain, letter.subscription.clone()),
        ("cause", Tone::Bad, cause(letter)),
        ("reason", Tone::Plain, letter.reason.clone()),
        ("attempts", Tone::Plain, letter.attempts.to_string()),
        ("first", Tone::Plain, human::moment(letter.first_delivered)),
        ("given up", Tone::Plain, human::moment(letter.given_up)),
    ];
    facts(terminal, known)?;
    let Some(event) = &letter.event else { return Ok(()) };
    terminal.line("")?;
    // Read back for the indentation: in this form nobody counts the digits of numbers.
    let event: serde_json::Value = serde_json::from_str(&to_json(event)).map_err(CliError::Encode)?;
    terminal.pretty(&event)
}

/// A letter as one document: names as the protobuf JSON mapping has them, the event in the JSON format of CloudEvents.
pub(super) fn json(letter: &DeadLetter) -> String {
    let mut json = String::from("{");
    put(&mut json, "id", &letter.id.to_string());
    put(&mut json, "subscription", &letter.subscription);
    put(&mut json, "cause", letter.cause().as_str_name());
    put(&mut json, "reason", &letter.reason);
    put(&mut json, "attempts", &letter.attempts);
    put(&mut json, "firstDelivered", &human::moment(letter.first_delivered));
    put(&mut json, "givenUp", &human::moment(letter.given_up));
    let event = letter.event.as_ref().map_or_else(|| "null".to_owned(), to_json);
    put_raw(&mut json, "event", &event);
    json.push('}');
    json
}

fn cause(letter: &DeadLetter) -> String {
    match letter.cause() {
        Cause::Unspecified => String::new(),
        cause => human::state(cause.as_str_name(), "CAUSE_"),
    }
}
