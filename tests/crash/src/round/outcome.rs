//! What became of a round.

use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

use crate::history::{Fact, History};

/// What became of a round.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What is wrong, for people; empty when nothing is.
    pub problems: Vec<String>,
    /// Where its histories and logs are, when something is wrong.
    pub kept: Option<PathBuf>,
    /// What happened.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that the journal held in the end.
    pub events: usize,
    /// Times that one of them was published.
    pub publications: usize,
    /// Answers that said that it had been before.
    pub duplicates: usize,
    /// Publications that were refused.
    pub refused: usize,
    /// Publications that were not answered, since the stream ended.
    pub unanswered: usize,
    /// Deliveries to members.
    pub deliveries: usize,
    /// Those of events that had been delivered before.
    pub redeliveries: usize,
    /// Those that a member was given when the host that they came from was dead: nobody hears what becomes of them.
    pub late: usize,
    /// Deliveries that a member refused.
    pub failed: usize,
    /// Kills of the host.
    pub host_kills: usize,
    /// Those that hit its guardian.
    pub guardian_kills: usize,
    /// Those that hit it while it started.
    pub start_kills: usize,
    /// Kills of publishers.
    pub publisher_kills: usize,
    /// Kills of members at any time.
    pub member_kills: usize,
    /// Deaths of members between handling and acknowledgement.
    pub member_deaths: usize,
}

impl Counts {
    fn each_mut(&mut self) -> [(&'static str, &mut usize); 15] {
        [
            ("events", &mut self.events),
            ("publications", &mut self.publications),
            ("duplicates", &mut self.duplicates),
            ("refused", &mut self.refused),
            ("unanswered", &mut self.unanswered),
            ("deliveries", &mut self.deliveries),
            ("redeliveries", &mut self.redeliveries),
            ("late", &mut self.late),
            ("failed", &mut self.failed),
            ("host_kills", &mut self.host_kills),
            ("guardian_kills", &mut self.guardian_kills),
            ("start_kills", &mut self.start_kills),
            ("publisher_kills", &mut self.publisher_kills),
            ("member_kills", &mut self.member_kills),
            ("member_deaths", &mut self.member_deaths),
        ]
    }

    /// Each of them with its name.
    pub fn each(mut self) -> [(&'static str, usize); 15] {
        self.each_mut().map(|(name, count)| (name, *count))
    }

    /// With what the history says.
    pub(super) fn of(mut self, history: &History) -> Self {
        self.events = history.journal.len();
        let (mut delivered, mut hosts, mut dead) = (HashSet::new(), HashMap::new(), HashMap::new());
        for record in &history.records {
            if let Fact::HostDead { host } = record.fact {
                dead.insert(host, record.at);
            }
        }
        for record in &history.records {
            match &record.fact {
                Fact::Publishing(_) => self.publications += 1,
                Fact::Accepted { duplicate, .. } => self.duplicates += usize::from(*duplicate),
                Fact::Refused { .. } => self.refused += 1,
                Fact::Unanswered { .. } => self.unanswered += 1,
                Fact::Connected { host } => drop(hosts.insert(record.who, *host)),
                Fact::Delivered { event, .. } => {
                    self.deliveries += 1;
                    let death = hosts.get(&record.who).and_then(|host| dead.get(host));
                    self.late += usize::from(death.is_some_and(|death| *death < record.at));
                    self.redeliveries += usize::from(!delivered.insert(&event.id));
                }
                Fact::Failed { .. } => self.failed += 1,
                _ => {}
            }
        }
        self
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for ((_, sum), (_, count)) in self.each_mut().into_iter().zip(other.each()) {
            *sum += count;
        }
    }
}
