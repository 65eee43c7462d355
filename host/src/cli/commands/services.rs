//! `services`: what can be called.

use plugmesh::admin::v1::{ListServicesRequest, Method};

use crate::cli::args::ServicesArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::printable;
use crate::cli::json;
use crate::cli::terminal::{Terminal, cell, table};

pub(super) async fn services(
    host: &Host,
    args: &ServicesArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let answer = host.admin().list_services(ListServicesRequest {}).await?.into_inner();
    if terminal.is_json() {
        json::print("ListServicesResponse", &answer, terminal)?;
        return Ok(Exit::OK);
    }
    if answer.services.is_empty() {
        terminal.remark("no services; `plugmesh list` says how the plugins are doing");
        return Ok(Exit::OK);
    }
    if args.methods {
        let paint = terminal.paint();
        for service in &answer.services {
            let providers = printable(&service.plugins.join(", "));
            terminal.line(format_args!("{}  ({providers})", paint.bold(printable(&service.name))))?;
            for method in &service.methods {
                terminal.line(format_args!("  {}", printable(&signature(method))))?;
            }
            if service.methods.is_empty() {
                terminal.line("  (no descriptor: the methods are not known)")?;
            }
        }
        return Ok(Exit::OK);
    }
    let mut shown = table(&["SERVICE", "METHODS", "PLUGINS"]);
    for service in &answer.services {
        let methods: Vec<_> = service.methods.iter().map(|method| method.name.as_str()).collect();
        shown.add_row([cell(&service.name), cell(methods.join(", ")), cell(service.plugins.join(", "))]);
    }
    terminal.table(shown)?;
    Ok(Exit::OK)
}

/// A method as it is written in a proto file.
fn signature(method: &Method) -> String {
    let stream = |streams: bool| if streams { "stream " } else { "" };
    format!(
        "{}({}{}) returns ({}{})",
        method.name,
        stream(method.client_streaming),
        method.input_type,
        stream(method.server_streaming),
        method.output_type,
    )
}
