//! `events replay`.

use plugmesh::event::v1::ReplayRequest;

use super::show::{self, Recorded};
use crate::cli::args::events::ReplayArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;

pub(super) async fn replay(
    host: &Host,
    args: &ReplayArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let request = ReplayRequest {
        patterns: args.wanted.patterns.clone(),
        filters: args.wanted.filters.clone(),
        start: Some(args.from.to_wire()),
        limit: args.limit.unwrap_or_default(),
    };
    let mut events = host.events().replay(request).await?.into_inner();
    let mut is_empty = true;
    while let Some(found) = events.message().await? {
        let event = found.event.ok_or(CliError::Incomplete("event"))?;
        show::print(&event, Some(Recorded { place: found.place, time: found.recorded }), terminal)?;
        is_empty = false;
    }
    if is_empty {
        terminal.remark("the journal holds no such event");
    }
    Ok(Exit::OK)
}
