//! `explain`: where a call would go, and why.

use plugmesh::admin::v1::ExplainRequest;

use super::plugins::instance_state;
use crate::cli::args::ExplainArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::printable;
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
        let (plugin, policy) = (printable(&answer.plugin), printable(&answer.policy));
        terminal.line(format_args!("plugin {plugin}, policy {policy}"))?;
    }
    if !answer.candidates.is_empty() {
        let mut shown = table(&["INSTANCE", "STATE", "IN FLIGHT", "PICKED", "WHY"]);
        for candidate in &answer.candidates {
            let picked = if candidate.eligible { toned(Tone::Good, "yes") } else { toned(Tone::Bad, "no") };
            shown.add_row([
                cell(&candidate.instance),
                instance_state(candidate.state()),
                cell(candidate.in_flight.to_string()),
                picked,
                cell(&candidate.reason),
            ]);
        }
        terminal.line("")?;
        terminal.table(shown)?;
    }
    Ok(Exit::OK)
}
