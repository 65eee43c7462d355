//! Asking before something is deleted.

use std::io::{self, IsTerminal as _};

use crate::cli::error::CliError;
use crate::cli::reading;
use crate::cli::terminal::Terminal;

/// Whether it is to be done: a person is asked, unless they have said so already; a script knows what it does.
pub(super) async fn confirmed(question: &str, yes: bool, terminal: &mut Terminal) -> Result<bool, CliError> {
    if yes || !terminal.shows_progress() || !io::stdin().is_terminal() {
        return Ok(true);
    }
    terminal.ask(format_args!("{question} [y/N]"));
    // A terminal that cannot be read has not said yes.
    let answer = reading::line(io::stdin()).await.unwrap_or_default();
    let is_yes = ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str());
    if !is_yes {
        terminal.remark("nothing was deleted");
    }
    Ok(is_yes)
}
