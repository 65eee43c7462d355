//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::address::HostAddress;

pub(crate) mod events;
mod examples;

use self::events::EventsArgs;

/// A plugin mesh over gRPC: start, balance, watch and call plugins written in any language.
#[derive(Debug, Parser)]
#[command(name = "plugmesh", version, propagate_version = true, after_help = examples::TOP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Which host: unix:///path, a path, http://127.0.0.1:port or https://host:port
    /// [default: plugmesh/gateway.sock under XDG_RUNTIME_DIR, else under /tmp]
    #[arg(long, global = true, value_name = "ADDRESS", env = plugmesh::env::HOST)]
    pub(crate) host: Option<HostAddress>,
    /// PEM certificates that the host's certificate must chain to (https only)
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,
    /// PEM certificate chain to show to the host (https only)
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) cert: Option<PathBuf>,
    /// PEM private key of --cert
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,
    /// How to print: for people, or one stable JSON document (streams: a document a line)
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// When to use colours; NO_COLOR in the environment means never
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences.
    #[default]
    Table,
    /// The protobuf JSON mapping of the host's answers.
    Json,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a host and every plugin below the given directories
    #[command(after_help = examples::SERVE)]
    Serve(ServeArgs),
    /// Show who the host is and how it is doing
    #[command(after_help = examples::STATUS)]
    Status,
    /// Show how well every plugin is, and who is to blame; the exit code tells
    #[command(after_help = examples::HEALTH)]
    Health(HealthArgs),
    /// List the plugins
    #[command(after_help = examples::LIST, visible_alias = "ls")]
    List,
    /// Show one plugin and its instances
    #[command(after_help = examples::GET)]
    Get(NameArgs),
    /// Print the plugins as they are, then every change as it happens
    #[command(after_help = examples::WATCH)]
    Watch(WatchArgs),
    /// Call a method of a plugin with JSON
    #[command(after_help = examples::CALL)]
    Call(CallArgs),
    /// List the gRPC services that can be called, and who provides them
    #[command(after_help = examples::SERVICES)]
    Services(ServicesArgs),
    /// Print ready grpcurl commands for a plugin: directly and through the gateway
    #[command(after_help = examples::ENDPOINT)]
    Endpoint(NameArgs),
    /// Publish events, look at them, and at what became of them
    #[command(after_help = examples::events::EVENTS)]
    Events(EventsArgs),
    /// Show what a plugin writes
    #[command(after_help = examples::LOGS)]
    Logs(LogsArgs),
    /// Take a plugin that somebody else started, such as one under a debugger
    #[command(after_help = examples::ATTACH)]
    Attach(AttachArgs),
    /// Stop routing to a plugin and wait for its calls in flight
    #[command(after_help = examples::DRAIN)]
    Drain(DrainArgs),
    /// Start a plugin from its manifest
    #[command(after_help = examples::LOAD)]
    Load(LoadArgs),
    /// Drain and stop a plugin and forget it
    #[command(after_help = examples::UNLOAD)]
    Unload(NameArgs),
    /// Replace the instances of a plugin by new ones without losing a call
    #[command(after_help = examples::RELOAD)]
    Reload(NameArgs),
    /// Start a plugin that was disabled
    #[command(after_help = examples::ENABLE)]
    Enable(NameArgs),
    /// Drain and stop a plugin, but remember it
    #[command(after_help = examples::DISABLE)]
    Disable(NameArgs),
    /// Say where a call would go, and why
    #[command(after_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Drain everything and end the host
    #[command(after_help = examples::SHUTDOWN)]
    Shutdown(ShutdownArgs),
    /// Say what is wrong with the plugins below a directory, before they run
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Look at configuration
    #[command(after_help = examples::CONFIG)]
    Config(ConfigArgs),
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print what the exit codes mean
    #[command(after_help = examples::EXIT_CODES)]
    ExitCodes,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Directories to search for plugin.yaml
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dirs: Vec<PathBuf>,
    /// Configuration of the host
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Unix socket to serve the gateway on, a path or unix:///path [default: the socket that the other
    /// commands look for]
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Option<HostAddress>,
}

/// Options of commands about one plugin.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Name of the plugin
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Options of `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Only this plugin
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Options of `services`.
#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    /// Show the methods too
    #[arg(short, long)]
    pub(crate) methods: bool,
}

/// Options of `call`.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// SERVICE/METHOD or SERVICE.METHOD; the package may be left out when that is clear
    #[arg(value_name = "SERVICE/METHOD")]
    pub(crate) target: String,
    /// Request as JSON; @ reads standard input, @FILE a file. A stream takes one JSON message after the
    /// other [default: an empty message; standard input when the client streams]
    #[arg(short, long, value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// Metadata to send, such as 'x-user: ada'; the value of a key in -bin is base64
    #[arg(short = 'H', long = "header", value_name = "KEY: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Choose the plugin when several provide the service
    #[arg(long, value_name = "NAME")]
    pub(crate) plugin: Option<String>,
    /// Pin one instance, by name or by id
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) instance: Option<String>,
    /// Give up after this time, such as 5s or 300ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// Largest message to send or take, such as 64MiB or 1000000
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = super::human::parse_bytes)]
    pub(crate) max_message_size: usize,
    /// Print headers and trailers to standard error
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Print an example of the request instead of calling
    #[arg(long, conflicts_with = "data")]
    pub(crate) example: bool,
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Name of the plugin
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Go on with new lines until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many past lines; the host keeps at most 1000
    #[arg(short = 'n', long, default_value_t = 100, value_name = "LINES")]
    pub(crate) lines: u32,
}

/// Options of `health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Only this plugin
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Options of `attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Name of the plugin
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where it listens: unix:///path, http://127.0.0.1:port or https://host:port
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: HostAddress,
}

/// Options of `drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Name of the plugin
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Only this instance, by name or by id
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) instance: Option<String>,
    /// How long to wait for calls in flight, such as 10s [default: the host's drain time]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) grace: Option<Duration>,
}

/// Options of `load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// plugin.yaml, or the directory that holds it, on the host's machine
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A service, or one of its methods
    #[arg(value_name = "SERVICE[/METHOD]")]
    pub(crate) target: String,
    /// As if the caller had chosen this plugin
    #[arg(long, value_name = "NAME")]
    pub(crate) plugin: Option<String>,
}

/// Options of `shutdown`.
#[derive(Debug, Args)]
pub(crate) struct ShutdownArgs {
    /// How long calls in flight may go on, such as 10s [default: the host's drain time]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) grace: Option<Duration>,
    /// Return at once instead of when the host is gone
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// A directory to search for plugin.yaml, or a manifest
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::AnyPath)]
    pub(crate) dir: PathBuf,
}

/// Options of `config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// What can be done with configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with plugmesh.yaml and the manifests, and print how calls would be treated
    #[command(after_help = examples::CONFIG)]
    Check(ConfigCheckArgs),
}

/// Options of `config check`.
#[derive(Debug, Args)]
pub(crate) struct ConfigCheckArgs {
    /// Directories to search for plugin.yaml, as for `serve`
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dirs: Vec<PathBuf>,
    /// Configuration of the host
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Only this plugin
    #[arg(long, value_name = "NAME")]
    pub(crate) plugin: Option<String>,
    /// Also show the values that nobody has set
    #[arg(long)]
    pub(crate) all: bool,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// A command and those behind it.
    fn with_subcommands(command: &clap::Command) -> Vec<&clap::Command> {
        std::iter::once(command).chain(command.get_subcommands().flat_map(with_subcommands)).collect()
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let call = format!("plugmesh {}", command.get_name());
            assert!(help.starts_with("Examples:") && help.contains(&call), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn every_example_parses() {
        let mut seen = 0;
        let cli = Cli::command();
        for command in cli.get_subcommands().flat_map(with_subcommands) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter_map(|line| line.trim().strip_prefix("plugmesh ")) {
                // Quotes as a shell reads them, and only the part that is this command.
                let line = line.split(" | ").next().unwrap().split("  #").next().unwrap();
                let line = line.split(" > ").next().unwrap().trim();
                let mut words = vec!["plugmesh".to_owned()];
                for (at, piece) in line.split('\'').enumerate() {
                    if at % 2 == 1 {
                        words.push(piece.to_owned());
                    } else {
                        words.extend(piece.split_whitespace().map(str::to_owned));
                    }
                }
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{words:?}: {error}");
                }
                seen += 1;
            }
        }
        assert!(seen > 30, "only {seen} examples were found");
    }
}
