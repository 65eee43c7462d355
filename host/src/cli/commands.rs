//! What each command does.

mod endpoint;
mod explain;
mod health;
mod lifecycle;
mod logs;
mod plugins;
mod services;

use clap::CommandFactory as _;

use super::args::{Cli, Command, CompletionsArgs};
use super::call;
use super::connect::Host;
use super::error::CliError;
use super::events;
use super::exit::{self, Exit};
use super::terminal::{Terminal, table};

pub(crate) use endpoint::{Grpcurl, Tls};
pub(crate) use explain::settings;
pub(crate) use plugins::{facts, overview};

/// Runs a command that speaks to a host.
///
/// # Errors
///
/// Whatever kept it from being done. Dropping the future ends the call to the host.
pub(crate) async fn run(cli: &Cli, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let host = Host::connect(&cli.global).await?;
    match &cli.command {
        Command::Status => plugins::status(&host, terminal).await,
        Command::Health(args) => health::health(&host, args, terminal).await,
        Command::List => plugins::list(&host, terminal).await,
        Command::Get(args) => plugins::get(&host, args, terminal).await,
        Command::Watch(args) => plugins::watch(&host, args, terminal).await,
        Command::Call(args) => call::run(&host, args, terminal).await,
        Command::Services(args) => services::services(&host, args, terminal).await,
        Command::Endpoint(args) => endpoint::endpoint(&host, args, &cli.global, terminal).await,
        Command::Events(args) => events::run(&host, args, terminal).await,
        Command::Logs(args) => logs::logs(&host, args, terminal).await,
        Command::Attach(args) => lifecycle::attach(&host, args, terminal).await,
        Command::Drain(args) => lifecycle::drain(&host, args, terminal).await,
        Command::Load(args) => lifecycle::load(&host, args, terminal).await,
        Command::Unload(args) => lifecycle::unload(&host, args, terminal).await,
        Command::Reload(args) => lifecycle::reload(&host, args, terminal).await,
        Command::Enable(args) => lifecycle::enable(&host, args, terminal).await,
        Command::Disable(args) => lifecycle::disable(&host, args, terminal).await,
        Command::Explain(args) => explain::explain(&host, args, terminal).await,
        Command::Shutdown(args) => lifecycle::shutdown(&host, args, terminal).await,
        // These work without a host and were run before.
        Command::Serve(_)
        | Command::Doctor(_)
        | Command::Config(_)
        | Command::Completions(_)
        | Command::ExitCodes => Ok(Exit::OK),
    }
}

/// Prints a completion script.
pub(crate) fn completions(args: &CompletionsArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "plugmesh", &mut script);
    terminal.raw(&script)?;
    Ok(Exit::OK)
}

/// Prints what the exit codes mean.
pub(crate) fn exit_codes(terminal: &mut Terminal) -> Result<Exit, CliError> {
    let meanings = exit::meanings();
    if terminal.is_json() {
        let codes: Vec<_> = meanings
            .into_iter()
            .map(|(code, meaning)| serde_json::json!({ "code": code, "meaning": meaning }))
            .collect();
        terminal.json(&serde_json::json!({ "exitCodes": codes }))?;
    } else {
        let mut shown = table(&["CODE", "MEANING"]);
        shown.add_rows(meanings.into_iter().map(|(code, meaning)| [code.to_string(), meaning]));
        terminal.table(shown)?;
    }
    Ok(Exit::OK)
}
