//! A round: it is run as its plan says, and checked.

mod crew;
mod outcome;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use self::outcome::{Counts, Outcome};
pub use crate::process::Programs;

use self::crew::Crew;
use crate::checker::check;
use crate::history::{Fact, History, Record, Who, Writer};
use crate::host::{self, Host, Place};
use crate::plan::{HostKill, Plan, When};
use crate::{BoxError, checker};

/// Between two looks at what is going on.
const TICK: Duration = Duration::from_micros(500);

/// How long nothing may happen before a round has failed: less than the bus waits for an acknowledgement, so that what only goes on by
/// that is found.
const STUCK: Duration = Duration::from_secs(20);

/// How long a host may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);

/// A round that is going on.
struct Round<'a> {
    plan: Plan,
    programs: &'a Programs,
    /// Dropped in this order: first those who would look for the host.
    crew: Crew,
    host: Host,
    place: Place,
    runtime: Runtime,
    history: Writer,
    records: Vec<Record>,
    host_kills: std::vec::IntoIter<HostKill>,
    /// Lines that were there when the host was started.
    lines_before: usize,
    counts: Counts,
}

/// Runs the round of a seed. When something is wrong its directory stays, and the outcome says where.
///
/// # Errors
/// It could not be run.
pub fn run(seed: u64, programs: &Programs) -> Result<Outcome, BoxError> {
    // Short: the path of a socket has 107 bytes.
    let directory = tempfile::Builder::new().prefix("pc-").tempdir_in("/tmp")?;
    let began = Instant::now();
    let result = Round::start(Plan::new(seed), programs, directory.path()).and_then(Round::run);
    match result {
        Ok((history, counts)) => {
            let violations = check(&history);
            let kept =
                if violations.is_empty() { None } else { Some(keep(directory, &history, &violations)?) };
            let problems = violations.iter().map(ToString::to_string).collect();
            Ok(Outcome { seed, problems, kept, counts: counts.of(&history), took: began.elapsed() })
        }
        Err(error) => {
            let kept = Some(directory.keep());
            let problems = vec![error.to_string()];
            Ok(Outcome { seed, problems, kept, counts: Counts::default(), took: began.elapsed() })
        }
    }
}

/// Keeps what a round left, with its history in one file.
fn keep(
    directory: TempDir,
    history: &History,
    violations: &[checker::Violation],
) -> Result<PathBuf, BoxError> {
    let directory = directory.keep();
    let mut records: Vec<_> = history.records.iter().collect();
    records.sort_by_key(|record| record.at);
    let mut text = String::new();
    for Record { at, who, fact } in records {
        writeln!(text, "{at} {who} {fact}")?;
    }
    for kept in &history.journal {
        writeln!(text, "place {} {}", kept.place, kept.event)?;
    }
    for violation in violations {
        writeln!(text, "VIOLATION {violation}")?;
    }
    std::fs::write(directory.join("history.txt"), text)?;
    Ok(directory)
}

impl<'a> Round<'a> {
    fn start(plan: Plan, programs: &'a Programs, directory: &Path) -> Result<Self, BoxError> {
        let place = Place::prepare(directory, plan.fsync)?;
        let histories = directory.join("history");
        std::fs::create_dir(&histories)?;
        let mut history = Writer::create(&histories, Who::Runner)?;
        let host = Host::start(programs, &place)?;
        let records = vec![history.write(Fact::HostStarted { host: host.pid() })?];
        let crew = Crew::start(&plan, programs, directory, &place.socket())?;
        Ok(Self {
            host_kills: plan.host_kills.clone().into_iter(),
            plan,
            programs,
            crew,
            host,
            place,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            history,
            records,
            lines_before: 0,
            counts: Counts::default(),
        })
    }

    fn run(mut self) -> Result<(History, Counts), BoxError> {
        let mut kills = self.plan.kills.clone().into_iter().peekable();
        let mut host_kill = self.host_kills.next();
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            self.crew.read(&mut self.records)?;
            if self.records.len() > seen {
                (seen, since) = (self.records.len(), Instant::now());
            }
            while let Some(kill) = kills.next_if(|kill| kill.lines <= seen as u64) {
                self.crew.kill(kill.who, &mut self.history, &mut self.records, &mut self.counts)?;
            }
            self.crew.replace(&mut self.records, &mut self.counts)?;
            if let Some(kill) = host_kill
                && self.is_due(&kill)
            {
                std::thread::sleep(kill.delay.saturating_sub(self.waited(&kill)));
                self.kill_host(&kill)?;
                host_kill = self.host_kills.next();
                since = Instant::now();
                continue;
            }
            if self.host.has_ended() {
                return Err("the host has ended by itself: see host.log".into());
            }
            let may_end = host_kill.is_none_or(|kill| kill.when != When::Starting);
            if may_end && self.crew.has_published() && self.is_drained()? {
                return self.end();
            }
            if since.elapsed() > STUCK {
                let stats = self.runtime.block_on(host::stats(&self.place.socket()));
                let published = self.crew.has_published();
                return Err(format!("nothing happens any more; published: {published}; {stats:?}").into());
            }
            std::thread::sleep(TICK);
        }
    }

    fn is_due(&self, kill: &HostKill) -> bool {
        match kill.when {
            When::Starting => true,
            When::Lines(lines) => (self.records.len() - self.lines_before) as u64 >= lines,
        }
    }

    /// How much of the delay of a kill has passed when it is due.
    fn waited(&self, kill: &HostKill) -> Duration {
        match kill.when {
            When::Starting => self.host.since.elapsed(),
            When::Lines(_) => Duration::ZERO,
        }
    }

    /// Kills the host, and starts it again.
    fn kill_host(&mut self, kill: &HostKill) -> Result<(), BoxError> {
        let dead = self.host.pid();
        self.host.kill(kill.is_guardian)?;
        self.records.push(self.history.write(Fact::HostDead { host: dead })?);
        self.host.tidied()?;
        self.counts.host_kills += 1;
        self.counts.guardian_kills += usize::from(kill.is_guardian);
        self.counts.start_kills += usize::from(kill.when == When::Starting);
        self.host = Host::start(self.programs, &self.place)?;
        let host = self.host.pid();
        if self.records.iter().any(|record| record.fact == Fact::HostDead { host }) {
            return Err("two hosts had the same process id, so that nobody can tell them apart".into());
        }
        self.records.push(self.history.write(Fact::HostStarted { host })?);
        self.crew.read(&mut self.records)?;
        self.lines_before = self.records.len();
        Ok(())
    }

    /// Whether all that was published is handled.
    fn is_drained(&self) -> Result<bool, BoxError> {
        let socket = self.place.socket();
        let stats = self.runtime.block_on(async { tokio::time::timeout(ANSWER, host::stats(&socket)).await });
        // A host that is just starting does not answer yet.
        let Ok(Some(stats)) = stats? else { return Ok(false) };
        if stats.given_up + stats.dropped > 0 {
            return Err(format!("events were given up or dropped: {stats:?}").into());
        }
        Ok(stats.lag + stats.queued + stats.in_flight == 0)
    }

    fn end(mut self) -> Result<(History, Counts), BoxError> {
        let socket = self.place.socket();
        let journal =
            self.runtime.block_on(async { tokio::time::timeout(ANSWER, host::replay(&socket)).await });
        let journal = journal??;
        self.crew.dismiss(&mut self.records)?;
        Ok((History { records: self.records, journal }, self.counts))
    }
}
