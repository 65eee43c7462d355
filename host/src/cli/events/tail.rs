//! `events tail`.

use super::feed::Feed;
use super::show;
use crate::cli::args::events::TailArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::{count, printable};
use crate::cli::reading;
use crate::cli::terminal::{Terminal, Tone};

/// Prints events until Ctrl-C, until there were as many as wanted, or until nobody reads them any more.
pub(super) async fn tail(host: &Host, args: &TailArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut feed = match &args.from {
        None => Feed::live(host, &args.wanted).await?,
        Some(from) => Feed::from_journal(host, &args.wanted, from).await?,
    };
    // Who publishes what this is to print waits for this line.
    terminal.remark(format_args!("subscribed to {}", printable(&args.wanted.patterns.join(", "))));
    let gone = reading::given_up(std::io::stdout());
    let printing = async {
        let mut left = args.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let arrived = feed.next().await?;
            if arrived.dropped > 0 {
                let dropped = usize::try_from(arrived.dropped).unwrap_or(usize::MAX);
                let text = format!("{} dropped here: this reader is too slow", count(dropped, "event"));
                terminal.remark(terminal.remark_paint().tone(Tone::Notice, text));
            }
            show::print(&arrived.event, None, terminal)?;
            left -= 1;
        }
        Ok(Exit::OK)
    };
    tokio::select! {
        done = printing => done,
        () = gone => Ok(Exit::OK),
    }
}
