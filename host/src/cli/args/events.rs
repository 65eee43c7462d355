//! What can be typed behind `events`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use plugmesh::event::v1::{Ack, Filter};

use super::examples::events as examples;
use crate::cli::events::{StartAt, parse_attribute, parse_filter};

/// Options of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: EventsCommand,
}

/// What can be done with events.
#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Publish an event
    #[command(after_help = examples::PUBLISH)]
    Publish(PublishArgs),
    /// Print events as they are published
    #[command(after_help = examples::TAIL)]
    Tail(TailArgs),
    /// Print events that the journal holds, the oldest first
    #[command(after_help = examples::REPLAY)]
    Replay(ReplayArgs),
    /// Look at events that were given up (dead letters), deliver them again, or delete them
    #[command(after_help = examples::DLQ)]
    Dlq(DlqArgs),
    /// Show what the bus has done and is doing
    #[command(after_help = examples::STATS)]
    Stats(StatsArgs),
    /// Delete a durable name, and with it how far it has come
    #[command(after_help = examples::FORGET)]
    Forget(ForgetArgs),
}

/// Options of `events publish`.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// What happened, which is the topic, such as order.placed
    #[arg(value_name = "TYPE")]
    pub(crate) event_type: String,
    /// Data of the event; @ reads standard input, @FILE a file
    #[arg(short, long, value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// File with the data of the event, whatever its name; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "data", value_hint = ValueHint::FilePath)]
    pub(crate) data_file: Option<PathBuf>,
    /// Media type of the data; the data must be JSON if this says so
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub(crate) content_type: String,
    /// Where it happened: a URI reference
    #[arg(long, value_name = "URI", default_value = "/plugmesh/cli")]
    pub(crate) source: String,
    /// What tells it from other events of its source [default: a UUID that begins with the time]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// What it is about
    #[arg(long, value_name = "TEXT")]
    pub(crate) subject: Option<String>,
    /// Events with the same key are handled in order, one at a time
    #[arg(long, value_name = "KEY")]
    pub(crate) partition_key: Option<String>,
    /// Another attribute: a string, but for `time` and `dataschema`
    #[arg(short, long = "attribute", value_name = "NAME=VALUE", value_parser = parse_attribute)]
    pub(crate) attributes: Vec<(String, String)>,
    /// When it counts as published [default: when it is in the journal, if the topic has one, else when the
    /// bus has it]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) ack: Option<AckLevel>,
}

/// When an event counts as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AckLevel {
    /// Unless something is wrong with it.
    None,
    /// The bus has it, and there is room for it with everyone who wants it.
    Accepted,
    /// It is in the journal.
    Durable,
    /// Everyone who wants it has handled it or given it up.
    Handled,
}

impl AckLevel {
    /// As it is said on the wire.
    pub(crate) fn to_wire(self) -> Ack {
        match self {
            Self::None => Ack::None,
            Self::Accepted => Ack::Accepted,
            Self::Durable => Ack::Durable,
            Self::Handled => Ack::Handled,
        }
    }
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Topics: `*` is any one token, `>` at the end the rest; quote them for the shell
    #[arg(value_name = "PATTERN", required = true)]
    pub(crate) patterns: Vec<String>,
    /// Only events with this attribute: NAME=VALUE, NAME^=PREFIX, NAME$=SUFFIX, NAME (is there), !NAME
    #[arg(short, long = "filter", value_name = "CONDITION", value_parser = parse_filter)]
    pub(crate) filters: Vec<Filter>,
}

/// Options of `events tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// Print first what the journal holds from there on, and miss nothing: as for `events replay`
    #[arg(long, value_name = "WHERE")]
    pub(crate) from: Option<StartAt>,
    /// End after so many events
    #[arg(short = 'n', long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

/// Options of `events replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// Where to begin: beginning, end, a time (2026-01-31T12:00:00Z), so long ago (15m), or behind an event
    /// that is known by its place or id (place:7, id:4711)
    #[arg(long, value_name = "WHERE", default_value = "beginning")]
    pub(crate) from: StartAt,
    /// End after so many events
    #[arg(short = 'n', long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

/// Options of `events dlq`.
#[derive(Debug, Args)]
pub(crate) struct DlqArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: DlqCommand,
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters, the oldest first
    List(DlqListArgs),
    /// Show one whole
    Show(DlqShowArgs),
    /// Deliver some once more to those who gave them up
    Redrive(DlqChoice),
    /// Delete some for good
    Purge(DlqPurgeArgs),
}

/// Options of `events dlq list`.
#[derive(Debug, Args)]
pub(crate) struct DlqListArgs {
    /// Only those of this subscription
    #[arg(long, value_name = "NAME")]
    pub(crate) subscription: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, value_name = "LETTERS", default_value_t = 100)]
    pub(crate) limit: usize,
}

/// Options of `events dlq show`.
#[derive(Debug, Args)]
pub(crate) struct DlqShowArgs {
    /// Which, as `events dlq list` has it
    #[arg(value_name = "ID")]
    pub(crate) id: u64,
}

/// Which dead letters.
#[derive(Debug, Args)]
#[group(required = true)]
pub(crate) struct DlqChoice {
    /// These, as `events dlq list` has them
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<u64>,
    /// All of this subscription
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    pub(crate) subscription: Option<String>,
}

/// Options of `events dlq purge`.
#[derive(Debug, Args)]
pub(crate) struct DlqPurgeArgs {
    #[command(flatten)]
    pub(crate) choice: DlqChoice,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Options of `events stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Again and again until Ctrl-C, with what happens in a second
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How often
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_interval, requires = "watch")]
    pub(crate) interval: Duration,
}

/// Options of `events forget`.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The durable name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    match humantime::parse_duration(text) {
        Ok(time) if time >= LEAST => Ok(time),
        Ok(_) => Err("at least 100ms".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
