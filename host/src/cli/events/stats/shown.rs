//! What the bus does, as tables.

use std::collections::HashMap;
use std::time::SystemTime;

use comfy_table::{Cell, CellAlignment, Table};
use plugmesh::event::v1::subscription::Members;
use plugmesh::event::v1::{GetStatsResponse, JournalStats, Mode, SubscriptionStats};

use super::super::rates::Rates;
use crate::cli::commands::facts;
use crate::cli::error::CliError;
use crate::cli::human::{self, bytes};
use crate::cli::terminal::{Terminal, Tone, cell, number, table, toned};

/// Prints all of it.
pub(super) fn show(
    stats: &GetStatsResponse,
    rates: Option<&Rates<'_>>,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    totals(stats, rates, terminal)?;
    if !stats.subscriptions.is_empty() {
        terminal.line("")?;
        terminal.table(subscriptions(&stats.subscriptions, rates))?;
    }
    if let Some(journal) = &stats.journal {
        terminal.line("")?;
        self::journal(journal, terminal)?;
    }
    Ok(())
}

fn totals(
    stats: &GetStatsResponse,
    rates: Option<&Rates<'_>>,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let with_rate = |shown: String, now: u64, count: fn(&GetStatsResponse) -> u64| match rates {
        Some(rates) => format!("{shown} ({}/s)", short(rates.of(now, count))),
        None => shown,
    };
    let refused = if stats.refused == 0 { Tone::Plain } else { Tone::Bad };
    let volume = match rates {
        Some(rates) => {
            let rate = rates.of(stats.published_bytes, |then| then.published_bytes);
            format!("{} ({}/s)", bytes(stats.published_bytes), bytes(rate as u64))
        }
        None => bytes(stats.published_bytes),
    };
    let known = [
        (
            "published",
            Tone::Plain,
            with_rate(stats.published.to_string(), stats.published, |then| then.published),
        ),
        ("refused", refused, with_rate(stats.refused.to_string(), stats.refused, |then| then.refused)),
        (
            "duplicates",
            Tone::Plain,
            with_rate(stats.duplicates.to_string(), stats.duplicates, |then| then.duplicates),
        ),
        ("volume", Tone::Plain, volume),
        ("streams", Tone::Plain, stats.participants.to_string()),
        ("last event", Tone::Plain, ago(stats.last_event)),
    ];
    facts(terminal, known)
}

fn subscriptions(all: &[SubscriptionStats], rates: Option<&Rates<'_>>) -> Table {
    let mut columns = vec![
        "SUBSCRIPTION",
        "TOPICS",
        "KIND",
        "MODE",
        "DELIVERED",
        "AGAIN",
        "ACKED",
        "FAILED",
        "DEAD",
        "DROPPED",
        "QUEUED",
        "IN FLIGHT",
        "LAG",
        "BLOCKED",
        "LAST EVENT",
    ];
    if rates.is_some() {
        columns.extend(["DELIVERED/S", "ACKED/S"]);
    }
    let mut shown = table(&columns);
    // Of several with one name, which one it is.
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for one in all {
        let at = seen.entry(&one.name).or_default();
        let what = one.what.clone().unwrap_or_default();
        let kind = match (what.durable_name.as_str(), &what.members) {
            ("", Some(Members::Group(_))) => "group",
            ("", _) => "broadcast",
            _ => "durable",
        };
        let mode = match what.mode() {
            Mode::AtMostOnce => "at most once",
            Mode::AtLeastOnce => "at least once",
            Mode::Unspecified => "",
        };
        let wrong = |tone, count: u64| match count {
            0 => number(0),
            _ => toned(tone, count.to_string()).set_alignment(CellAlignment::Right),
        };
        let mut row = vec![
            cell(&one.name),
            cell(what.patterns.join(", ")),
            cell(kind),
            cell(mode),
            number(one.delivered),
            number(one.redelivered),
            number(one.acknowledged),
            wrong(Tone::Notice, one.failed),
            wrong(Tone::Bad, one.given_up),
            wrong(Tone::Bad, one.dropped),
            number(one.queued),
            number(one.in_flight),
            number(one.lag),
            wrong(Tone::Notice, one.blocked_publishers),
            cell(ago(one.last_event)),
        ];
        if let Some(rates) = rates {
            let rate = |count: fn(&SubscriptionStats) -> u64| {
                Cell::new(short(rates.of_subscription(one, *at, count))).set_alignment(CellAlignment::Right)
            };
            row.extend([rate(|one| one.delivered), rate(|one| one.acknowledged)]);
        }
        shown.add_row(row);
        *at += 1;
    }
    shown
}

fn journal(journal: &JournalStats, terminal: &mut Terminal) -> Result<(), CliError> {
    let places = match journal.events {
        0 => String::new(),
        _ => format!("{} to {}", journal.first_place, journal.last_place),
    };
    let letters = if journal.dead_letters == 0 { Tone::Plain } else { Tone::Bad };
    let known = [
        (
            "journal",
            Tone::Plain,
            human::count(usize::try_from(journal.events).unwrap_or(usize::MAX), "event"),
        ),
        ("size", Tone::Plain, bytes(journal.bytes)),
        ("places", Tone::Plain, places),
        ("commits", Tone::Plain, journal.commits.to_string()),
        (
            "given up",
            letters,
            human::count(usize::try_from(journal.dead_letters).unwrap_or(usize::MAX), "dead letter"),
        ),
        ("problem", Tone::Bad, journal.problem.clone()),
    ];
    facts(terminal, known)
}

fn ago(time: Option<prost_types::Timestamp>) -> String {
    match time {
        None => "never".to_owned(),
        Some(_) => format!("{} ago", human::age(time, SystemTime::now())),
    }
}

/// A rate with three digits or so.
fn short(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        small if small < 100.0 => format!("{small:.1}"),
        large => format!("{large:.0}"),
    }
}
