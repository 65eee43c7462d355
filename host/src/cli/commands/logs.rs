//! `logs`: what a plugin writes.

use plugmesh::admin::v1::{LogStream, TailLogsRequest, TailLogsResponse};

use crate::cli::args::LogsArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::{self, printable};
use crate::cli::json;
use crate::cli::terminal::{Terminal, Tone};

pub(super) async fn logs(host: &Host, args: &LogsArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let request = TailLogsRequest { name: args.name.clone(), lines: args.lines, follow: args.follow };
    let mut lines = host.admin().tail_logs(request).await?.into_inner();
    let printer = if terminal.is_json() { Some(json::Printer::of("TailLogsResponse")?) } else { None };
    while let Some(line) = lines.message().await? {
        match &printer {
            Some(printer) => printer.print(&line, terminal)?,
            None => show(&line, terminal)?,
        }
    }
    Ok(Exit::OK)
}

fn show(line: &TailLogsResponse, terminal: &mut Terminal) -> Result<(), CliError> {
    let paint = terminal.paint();
    if line.lost > 0 {
        terminal.line(paint.tone(Tone::Notice, format_args!("({} lines were lost here)", line.lost)))?;
    }
    let tone = match line.level.as_str() {
        "error" => Tone::Bad,
        "warn" => Tone::Notice,
        "debug" | "trace" => Tone::Faint,
        _ => Tone::Plain,
    };
    // A line without a level is told by where it was written.
    let label = if line.level.is_empty() {
        match line.stream() {
            LogStream::Stdout => "stdout".to_owned(),
            LogStream::Stderr => "stderr".to_owned(),
            LogStream::Host => "host".to_owned(),
            LogStream::Unspecified => "-".to_owned(),
        }
    } else {
        line.level.to_ascii_uppercase()
    };
    let time = paint.tone(Tone::Faint, human::moment(line.time));
    let instance = paint.tone(Tone::Faint, printable(&line.instance));
    let label = paint.tone(tone, format_args!("{:<6}", printable(&label)));
    let mut fields = String::new();
    if let Ok(members) = serde_json::from_str(&line.fields_json) {
        human::attributes(&mut fields, "", &members);
    }
    let fields = if fields.is_empty() { fields } else { paint.tone(Tone::Faint, fields) };
    terminal.line(format_args!("{time} {instance} {label} {}{fields}", printable(&line.line)))
}
