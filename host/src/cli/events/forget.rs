//! `events forget`.

use plugmesh::event::v1::DeleteDurableNameRequest;

use super::confirm::confirmed;
use crate::cli::args::events::ForgetArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::printable;
use crate::cli::terminal::Terminal;

pub(super) async fn forget(
    host: &Host,
    args: &ForgetArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let name = printable(&args.name);
    let question = format!("Forget how far {name} has come?");
    if !confirmed(&question, args.yes, terminal).await? {
        return Ok(Exit::FAILURE);
    }
    let request = DeleteDurableNameRequest { durable_name: args.name.clone() };
    let answer = host.events().delete_durable_name(request).await?.into_inner();
    if terminal.is_json() {
        super::print("DeleteDurableNameResponse", &answer, terminal)?;
    } else {
        terminal.line(format_args!("forgot {name}"))?;
    }
    Ok(Exit::OK)
}
