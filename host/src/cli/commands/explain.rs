//! `explain`: where a call would go, and why.

use std::time::Duration;

use comfy_table::{Cell, Table};
use plugmesh::admin::v1::{BreakerState, Candidate, ExplainRequest, ExplainResponse, Setting};

use super::plugins::instance_state;
use crate::cli::args::ExplainArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::{precise, printable};
use crate::cli::json;
use crate::cli::terminal::{Terminal, Tone, cell, table, toned};

pub(super) async fn explain(
    host: &Host,
    args: &ExplainArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let target = args.target.trim_start_matches('/');
    let (service, method) = target.split_once('/').unwrap_or((target, ""));
    let request = ExplainRequest {
        service: service.to_owned(),
        method: method.to_owned(),
        plugin: args.plugin.clone().unwrap_or_default(),
    };
    let answer = host.admin().explain(request).await?.into_inner();
    if terminal.is_json() {
        json::print("ExplainResponse", &answer, terminal)?;
        return Ok(Exit::OK);
    }
    terminal.line(printable(&answer.summary))?;
    if !answer.plugin.is_empty() {
        terminal.line(facts(&answer))?;
    }
    if !answer.candidates.is_empty() {
        terminal.line("")?;
        terminal.table(candidates(&answer.candidates))?;
    }
    if !answer.settings.is_empty() {
        terminal.line("")?;
        terminal.table(settings(answer.settings.iter()))?;
    }
    Ok(Exit::OK)
}

fn facts(answer: &ExplainResponse) -> String {
    let ExplainResponse { plugin, policy, retry_budget, waiting, in_flight_limit, queued, .. } = answer;
    let mut facts = format!(
        "plugin {}, policy {}, {retry_budget:.0} retries left in the budget",
        printable(plugin),
        printable(policy)
    );
    if let Some(p95) = span(answer.p95) {
        facts.push_str(&format!(", p95 {}", precise(p95)));
    }
    if *waiting > 0 {
        facts.push_str(&format!(", {waiting} calls wait for an instance"));
    }
    if *in_flight_limit > 0 {
        facts.push_str(&format!(", at most {in_flight_limit} in flight and {queued} waiting for that"));
    }
    facts
}

fn candidates(candidates: &[Candidate]) -> Table {
    let columns = ["INSTANCE", "STATE", "BREAKER", "WEIGHT", "IN FLIGHT", "LATENCY", "PICKED", "WHY"];
    let mut shown = table(&columns);
    for candidate in candidates {
        let picked = if candidate.eligible { toned(Tone::Good, "yes") } else { toned(Tone::Bad, "no") };
        let weight = match candidate.priority {
            0 => candidate.weight.to_string(),
            priority => format!("{} (priority {priority})", candidate.weight),
        };
        shown.add_row([
            cell(&candidate.instance),
            instance_state(candidate.state()),
            breaker(candidate),
            cell(weight),
            cell(candidate.in_flight.to_string()),
            cell(span(candidate.latency).map_or_else(|| "-".to_owned(), precise)),
            picked,
            cell(&candidate.reason),
        ]);
    }
    shown
}

fn breaker(candidate: &Candidate) -> Cell {
    match candidate.breaker() {
        BreakerState::Unspecified => cell("-"),
        BreakerState::Closed => toned(Tone::Good, "closed"),
        BreakerState::Open => toned(Tone::Bad, "open"),
        BreakerState::HalfOpen => toned(Tone::Notice, "half-open"),
    }
}

/// A line for each value of a policy.
pub(crate) fn settings<'a>(settings: impl Iterator<Item = &'a Setting>) -> Table {
    let mut shown = table(&["SETTING", "VALUE", "SET BY"]);
    for Setting { key, value, set_by } in settings {
        let tone = if set_by == "default" { Tone::Faint } else { Tone::Plain };
        shown.add_row([cell(key), cell(value), toned(tone, printable(set_by))]);
    }
    shown
}

fn span(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(plugmesh::time::duration)
}
