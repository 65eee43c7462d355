//! What is done to some dead letters: `redrive` and `purge`.

use plugmesh::event::v1::{
    PurgeDeadLettersRequest, PurgeDeadLettersResponse, RedriveDeadLettersRequest, RedriveDeadLettersResponse,
};

use super::super::confirm::confirmed;
use crate::cli::args::events::{DlqChoice, DlqPurgeArgs};
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::{count, printable};
use crate::cli::terminal::{Terminal, Tone};

/// Exit code 1 when one of them could not be.
pub(super) async fn redrive(
    host: &Host,
    args: &DlqChoice,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let (ids, subscription) = chosen(args);
    let request = RedriveDeadLettersRequest { ids, subscription };
    let answer: RedriveDeadLettersResponse = host.events().redrive_dead_letters(request).await?.into_inner();
    if terminal.is_json() {
        super::super::print("RedriveDeadLettersResponse", &answer, terminal)?;
    } else {
        terminal.line(format_args!("delivered {} again", letters(answer.count)))?;
        for problem in &answer.problems {
            let text = terminal.remark_paint().tone(Tone::Bad, printable(problem));
            terminal.remark(text);
        }
    }
    Ok(if answer.problems.is_empty() { Exit::OK } else { Exit::FAILURE })
}

/// Exit code 1 when fewer were there than were named.
pub(super) async fn purge(
    host: &Host,
    args: &DlqPurgeArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let (ids, subscription) = chosen(&args.choice);
    let named = ids.len() as u64;
    let question = match subscription.as_str() {
        "" => format!("Delete {} for good?", letters(named)),
        name => format!("Delete all dead letters of {} for good?", printable(name)),
    };
    if !confirmed(&question, args.yes, terminal).await? {
        return Ok(Exit::FAILURE);
    }
    let request = PurgeDeadLettersRequest { ids, subscription };
    let answer: PurgeDeadLettersResponse = host.events().purge_dead_letters(request).await?.into_inner();
    if terminal.is_json() {
        super::super::print("PurgeDeadLettersResponse", &answer, terminal)?;
    } else {
        terminal.line(format_args!("deleted {}", letters(answer.count)))?;
    }
    if answer.count < named {
        let missing = letters(named - answer.count);
        terminal.remark(format_args!("not there, or with their subscriptions again: {missing}"));
        return Ok(Exit::FAILURE);
    }
    Ok(Exit::OK)
}

/// The ids, each once, and the subscription.
fn chosen(args: &DlqChoice) -> (Vec<u64>, String) {
    let mut ids = args.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    (ids, args.subscription.clone().unwrap_or_default())
}

fn letters(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "dead letter")
}
