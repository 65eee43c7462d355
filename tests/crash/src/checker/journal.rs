//! What the journal held in the end.

use std::collections::{BTreeMap, HashMap};

use super::Violation;
use super::deliveries::Deliveries;
use super::publications::Publications;
use crate::history::{History, Kept};

/// The events of the journal.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    kept: &'a [Kept],
    places: HashMap<&'a str, u64>,
}

impl<'a> Journal<'a> {
    pub(super) fn read(history: &'a History) -> Self {
        let mut places = HashMap::new();
        for kept in &history.journal {
            places.entry(kept.event.id.as_str()).or_insert(kept.place);
        }
        Self { kept: &history.journal, places }
    }

    /// Where an event is.
    pub(super) fn place(&self, id: &str) -> Option<u64> {
        self.places.get(id).copied()
    }

    /// The ids of each key, in order, each where it is for the first time.
    pub(super) fn keys(&self) -> impl Iterator<Item = Vec<&'a str>> {
        let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for kept in self.kept.iter().filter(|kept| self.place(&kept.event.id) == Some(kept.place)) {
            keys.entry(&kept.event.key).or_default().push(&kept.event.id);
        }
        keys.into_values()
    }

    /// What is wrong with it.
    pub(super) fn soundness(&self, publications: &Publications, deliveries: &Deliveries) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut last_place = 0;
        let mut last: HashMap<u32, (usize, &str)> = HashMap::new();
        for Kept { place, event } in self.kept {
            let id = event.id.clone();
            if *place <= last_place {
                violations.push(Violation::PlaceDoesNotRise { place: *place });
            }
            last_place = *place;
            if self.place(&event.id) != Some(*place) {
                violations.push(Violation::KeptTwice { id });
                continue;
            }
            let Some(publication) = publications.get(&event.id).filter(|known| known.event == *event) else {
                violations.push(Violation::KeptWithoutCause { id });
                continue;
            };
            let before = last.entry(publication.publisher).or_insert((publication.position, &event.id));
            if publication.position >= before.0 {
                *before = (publication.position, &event.id);
            } else if !publication.was_refused {
                violations.push(Violation::KeptOutOfOrder { id, behind: before.1.to_owned() });
            }
        }
        let delivered = deliveries.iter().map(|delivery| delivery.event.id.as_str());
        let mut missing: Vec<_> =
            publications.accepted().chain(delivered).filter(|id| self.place(id).is_none()).collect();
        missing.sort_unstable();
        missing.dedup();
        violations.extend(missing.into_iter().map(|id| Violation::NotKept { id: id.to_owned() }));
        violations
    }
}
