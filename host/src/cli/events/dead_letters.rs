//! `events dlq`: events that were given up.

mod choice;
mod pages;
mod shown;

use comfy_table::Cell;
use plugmesh::event::v1::DeadLetter;

use self::pages::Pages;
use super::error::EventsError;
use crate::cli::args::events::{DlqArgs, DlqCommand, DlqListArgs, DlqShowArgs};
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;

pub(super) async fn run(host: &Host, args: &DlqArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    match &args.command {
        DlqCommand::List(args) => list(host, args, terminal).await,
        DlqCommand::Show(args) => show(host, args, terminal).await,
        DlqCommand::Redrive(args) => choice::redrive(host, args, terminal).await,
        DlqCommand::Purge(args) => choice::purge(host, args, terminal).await,
    }
}

async fn list(host: &Host, args: &DlqListArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut pages = Pages::of(host, args.subscription.as_deref().unwrap_or_default());
    // What is shown of a letter is small; the letters themselves, with their events, may not be.
    let mut rows = if terminal.is_json() { Rows::Json(Vec::new()) } else { Rows::Table(Vec::new()) };
    let mut has_more = false;
    'pages: while let Some(letters) = pages.next().await? {
        for letter in letters {
            if rows.count() == args.limit {
                has_more = true;
                break 'pages;
            }
            rows.add(&letter);
        }
    }
    match rows {
        Rows::Json(letters) => {
            terminal.raw(format!("{{\"letters\":[{}]}}\n", letters.join(",")).as_bytes())?;
        }
        Rows::Table(rows) if rows.is_empty() => terminal.remark("no dead letters"),
        Rows::Table(rows) => {
            let mut table = shown::table();
            table.add_rows(rows);
            terminal.table(table)?;
        }
    }
    if has_more {
        terminal.remark(format_args!("there are more than these {}; see --limit", args.limit));
    }
    Ok(Exit::OK)
}

async fn show(host: &Host, args: &DlqShowArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut pages = Pages::of(host, "");
    while let Some(letters) = pages.next().await? {
        if let Some(letter) = letters.iter().find(|letter| letter.id == args.id) {
            shown::whole(letter, terminal)?;
            return Ok(Exit::OK);
        }
        // They come in the order of their ids.
        if letters.last().is_some_and(|last| last.id > args.id) {
            break;
        }
    }
    Err(EventsError::NoDeadLetter(args.id).into())
}

/// What a list shows.
enum Rows {
    Table(Vec<Vec<Cell>>),
    Json(Vec<String>),
}

impl Rows {
    fn count(&self) -> usize {
        match self {
            Self::Table(rows) => rows.len(),
            Self::Json(letters) => letters.len(),
        }
    }

    fn add(&mut self, letter: &DeadLetter) {
        match self {
            Self::Table(rows) => rows.push(shown::row(letter)),
            Self::Json(letters) => letters.push(shown::json(letter)),
        }
    }
}
