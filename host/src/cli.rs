//! The `plugmesh` command line.
//!
//! `serve` runs a host and `doctor` looks at files; every other command speaks to a running host, with
//! `AdminService`, `EventBusService` and server reflection, so that nothing here can do what a script with
//! grpcurl cannot.
//!
//! - `args`: what can be typed. `commands`: what each one does. `call`: calling any method.
//! - `events`: publishing and watching events, dead letters, what the bus does.
//! - `terminal`: everything that is printed goes through it. `error`, `exit`: how a command fails.
//! - `address`, `connect`: which host, and the connection to it. `lock`: one host for each address.
//! - `serve`, `doctor`, `config`: the commands that work without a host.

pub(crate) mod address;
pub(crate) mod args;
pub(crate) mod call;
pub(crate) mod commands;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod doctor;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod exit;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod lock;
pub(crate) mod place;
pub(crate) mod reading;
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod terminal;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command, ConfigArgs, ConfigCommand};
use self::error::CliError;
use self::exit::Exit;
use self::terminal::Terminal;

/// Runs the command line of this process and says how the process should end.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that has seen enough of `--help` is no failure; a process without a usable error
            // output has nowhere left to say so.
            let _ = error.print();
            return if error.use_stderr() { Exit::USAGE.into() } else { Exit::OK.into() };
        }
    };
    let mut terminal = Terminal::stdio(&cli.global);
    match run(cli, &mut terminal) {
        Ok(exit) => exit.into(),
        Err(error) => {
            terminal.error(&error);
            error.exit().into()
        }
    }
}

fn run(cli: Cli, terminal: &mut Terminal) -> Result<Exit, CliError> {
    match &cli.command {
        Command::Serve(args) => serve::run(args, &cli.global, terminal),
        Command::Doctor(args) => doctor::run(args, terminal),
        Command::Config(ConfigArgs { command: ConfigCommand::Check(args) }) => config::check(args, terminal),
        Command::Completions(args) => commands::completions(args, terminal),
        Command::ExitCodes => commands::exit_codes(terminal),
        _ => remote(&cli, terminal),
    }
}

/// Runs a command that speaks to a host. One thread is enough for one connection, and starts faster.
fn remote(cli: &Cli, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(async {
        tokio::select! {
            done = commands::run(cli, terminal) => done,
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    })
}
