//! Showing how well everything is: `health`.

use std::time::Duration;

use comfy_table::Cell;
use plugmesh::admin::v1::{GetHealthRequest, GetHealthResponse, HealthState};
use plugmesh::time::duration;

use crate::cli::args::HealthArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::{self, printable};
use crate::cli::json;
use crate::cli::terminal::{Terminal, Tone, cell, table, toned};

pub(super) async fn health(
    host: &Host,
    args: &HealthArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let request = GetHealthRequest { name: args.name.clone().unwrap_or_default() };
    let answer = host.admin().get_health(request).await?.into_inner();
    if terminal.is_json() {
        json::print("GetHealthResponse", &answer, terminal)?;
    } else {
        show(&answer, terminal)?;
    }
    Ok(exit(answer.state()))
}

/// What scripts go by.
fn exit(state: HealthState) -> Exit {
    match state {
        HealthState::Healthy => Exit::OK,
        HealthState::Degraded => Exit::DEGRADED,
        HealthState::Unhealthy | HealthState::Unknown | HealthState::Unspecified => Exit::UNHEALTHY,
    }
}

fn show(answer: &GetHealthResponse, terminal: &mut Terminal) -> Result<(), CliError> {
    let state = health_state(answer.state());
    let sentence = match answer.message.is_empty() {
        true => state,
        false => format!("{state}: {}", printable(&answer.message)),
    };
    let sentence = terminal.paint().tone(health_tone(answer.state()), sentence).to_string();
    terminal.line(sentence)?;
    if answer.plugins.is_empty() {
        return Ok(());
    }
    let mut shown = table(&["NAME", "HEALTH", "ANSWERS IN", "ASKED", "WHY"]);
    let now = std::time::SystemTime::now();
    for plugin in &answer.plugins {
        shown.add_row([
            cell(&plugin.name),
            health_cell(plugin.state()),
            cell(""),
            cell(""),
            // Its instances say it better, when they have anything to say.
            cell(if plugin.instances.is_empty() { &*plugin.message } else { "" }),
        ]);
        for instance in &plugin.instances {
            let asked = instance.check_time.map(|time| format!("{} ago", human::age(Some(time), now)));
            shown.add_row([
                cell(format!("  {}", instance.name)),
                health_cell(instance.state()),
                cell(answers_in(instance.response_duration)),
                cell(asked.unwrap_or_default()),
                cell(&instance.message),
            ]);
        }
    }
    terminal.line("")?;
    terminal.table(shown)?;
    Ok(())
}

/// A response time, which is mostly below a millisecond.
pub(super) fn answers_in(took: Option<prost_types::Duration>) -> String {
    match took.and_then(duration) {
        None => String::new(),
        Some(took) if took < Duration::from_millis(10) => format!("{:.1} ms", took.as_secs_f64() * 1e3),
        Some(took) => human::span(took),
    }
}

pub(super) fn health_cell(state: HealthState) -> Cell {
    toned(health_tone(state), health_state(state))
}

pub(super) fn health_state(state: HealthState) -> String {
    human::state(state.as_str_name(), "HEALTH_STATE_")
}

pub(super) fn health_tone(state: HealthState) -> Tone {
    match state {
        HealthState::Healthy => Tone::Good,
        HealthState::Degraded => Tone::Notice,
        HealthState::Unhealthy => Tone::Bad,
        HealthState::Unknown => Tone::Faint,
        HealthState::Unspecified => Tone::Plain,
    }
}
