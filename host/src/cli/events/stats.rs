//! `events stats`.

mod shown;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::rates::Rates;
use crate::cli::args::events::StatsArgs;
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;
use plugmesh::event::v1::{GetStatsRequest, GetStatsResponse};

pub(super) async fn stats(host: &Host, args: &StatsArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut before: Option<(GetStatsResponse, Instant)> = None;
    let mut ticks = interval(args.interval);
    // Late is late: nobody wants two looks at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = host.events().get_stats(GetStatsRequest {}).await?.into_inner();
        let now = Instant::now();
        if terminal.is_json() {
            super::print("GetStatsResponse", &answer, terminal)?;
        } else {
            if args.watch && (before.is_some() || terminal.is_read_by_a_person()) {
                terminal.start_over()?;
            }
            let rates = before.as_ref().map(|(before, then)| Rates::since(before, now - *then));
            shown::show(&answer, rates.as_ref(), terminal)?;
        }
        if !args.watch {
            return Ok(Exit::OK);
        }
        before = Some((answer, now));
    }
}
