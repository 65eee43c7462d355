//! `events`: the bus of a host, for people and scripts.
//!
//! - `publish`, `data`: an event, and what it says. `tail`, `feed`: events as they come. `replay`: those of the journal.
//! - `dead_letters`: those that were given up. `stats`, `rates`: what the bus does. `forget`: the end of a durable name.
//! - `show`, `json_event`: how an event is printed. `words`: parts of the command line. `confirm`: asking before deleting.

mod confirm;
mod data;
mod dead_letters;
mod error;
mod feed;
mod forget;
mod json_event;
mod publish;
mod rates;
mod replay;
mod show;
mod stats;
mod tail;
mod words;

use prost::Message;

pub(crate) use self::error::EventsError;
pub(crate) use self::words::{StartAt, parse_attribute, parse_filter};
use super::args::events::{EventsArgs, EventsCommand};
use super::connect::Host;
use super::error::CliError;
use super::exit::Exit;
use super::json::Printer;
use super::terminal::Terminal;

/// Runs one of the commands.
///
/// # Errors
///
/// Whatever kept it from being done.
pub(crate) async fn run(host: &Host, args: &EventsArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    match &args.command {
        EventsCommand::Publish(args) => publish::publish(host, args, terminal).await,
        EventsCommand::Tail(args) => tail::tail(host, args, terminal).await,
        EventsCommand::Replay(args) => replay::replay(host, args, terminal).await,
        EventsCommand::Dlq(args) => dead_letters::run(host, args, terminal).await,
        EventsCommand::Stats(args) => stats::stats(host, args, terminal).await,
        EventsCommand::Forget(args) => forget::forget(host, args, terminal).await,
    }
}

/// Prints one message of package `plugmesh.event.v1`.
fn print(name: &'static str, message: &impl Message, terminal: &mut Terminal) -> Result<(), CliError> {
    Printer::within("plugmesh.event.v1", name)?.print(message, terminal)
}
