//! What was published.

use std::collections::{BTreeMap, HashMap};

use super::Violation;
use crate::history::{Fact, History, Seen, Who};

/// An event, as its publisher knows it.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) event: Seen,
    /// Index of its publisher.
    pub(super) publisher: u32,
    /// Its place among those of that publisher, by when it was published for the first time.
    pub(super) position: usize,
    /// When that was.
    pub(super) at: u64,
    times: usize,
    pub(super) was_refused: bool,
    called_new: usize,
    called_duplicate: usize,
}

/// All events that somebody was about to publish, by id.
#[derive(Debug, Default)]
pub(super) struct Publications(BTreeMap<String, Publication>);

impl Publication {
    /// Its publisher was told that it is kept.
    pub(super) fn is_accepted(&self) -> bool {
        self.called_new + self.called_duplicate > 0
    }
}

impl Publications {
    pub(super) fn read(history: &History) -> Self {
        let mut all = Self::default();
        let mut counts: HashMap<u32, usize> = HashMap::new();
        let mut records: Vec<_> = history.records.iter().collect();
        records.sort_by_key(|record| record.at);
        for record in records {
            let Who::Publisher(publisher) = record.who else { continue };
            match &record.fact {
                Fact::Publishing(event) => {
                    let known = all.0.entry(event.id.clone()).or_insert_with(|| {
                        let count = counts.entry(publisher.index).or_default();
                        *count += 1;
                        Publication {
                            event: event.clone(),
                            publisher: publisher.index,
                            position: *count - 1,
                            at: record.at,
                            times: 0,
                            was_refused: false,
                            called_new: 0,
                            called_duplicate: 0,
                        }
                    });
                    known.times += 1;
                }
                Fact::Accepted { id, duplicate } => {
                    if let Some(known) = all.0.get_mut(id) {
                        match duplicate {
                            true => known.called_duplicate += 1,
                            false => known.called_new += 1,
                        }
                    }
                }
                Fact::Refused { id, .. } => {
                    if let Some(known) = all.0.get_mut(id) {
                        known.was_refused = true;
                    }
                }
                _ => {}
            }
        }
        all
    }

    pub(super) fn get(&self, id: &str) -> Option<&Publication> {
        self.0.get(id)
    }

    pub(super) fn accepted(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, publication)| publication.is_accepted()).map(|(id, _)| id.as_str())
    }

    /// What was said of duplicates and is not so.
    pub(super) fn honesty(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (id, publication) in &self.0 {
            if publication.called_duplicate > 0 && publication.times < 2 {
                violations.push(Violation::FalseDuplicate { id: id.clone() });
            }
            if publication.called_new > 1 {
                violations.push(Violation::NewTwice { id: id.clone() });
            }
        }
        violations
    }
}
