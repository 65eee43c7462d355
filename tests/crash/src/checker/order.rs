//! The events of a key: one after the other, and one at a time.

use std::collections::HashMap;

use super::Violation;
use super::deliveries::{Deliveries, Delivery};
use super::journal::Journal;

/// Deliveries before the turn of their events.
pub(super) fn early_deliveries(deliveries: &Deliveries, journal: &Journal) -> Vec<Violation> {
    let handled = deliveries.first_handled();
    // For each event, the one before it with its key that was handled last, and when.
    let mut last_before: HashMap<&str, (u64, &str)> = HashMap::new();
    for ids in journal.keys() {
        let mut last = (0, "");
        for id in ids {
            last_before.insert(id, last);
            last = last.max((handled.get(id).copied().unwrap_or(u64::MAX), id));
        }
    }
    let early = deliveries.iter().filter_map(|delivery| {
        let (at, before) = last_before.get(delivery.event.id.as_str())?;
        (*at > delivery.begin).then(|| Violation::EarlyDelivery {
            id: delivery.event.id.clone(),
            at: delivery.begin,
            before: (*before).to_owned(),
        })
    });
    early.collect()
}

/// Deliveries of one host that go back.
pub(super) fn ways_back(deliveries: &Deliveries, journal: &Journal) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut furthest: HashMap<(u32, &str), (u64, &str)> = HashMap::new();
    for delivery in deliveries.iter().filter(|delivery| delivery.end >= delivery.begin) {
        let Some(place) = journal.place(&delivery.event.id) else { continue };
        let reached = furthest.entry((delivery.host, &delivery.event.key)).or_insert((0, ""));
        if place < reached.0 {
            violations.push(Violation::WayBack {
                id: delivery.event.id.clone(),
                at: delivery.begin,
                after: reached.1.to_owned(),
            });
        } else {
            *reached = (place, &delivery.event.id);
        }
    }
    violations
}

/// Deliveries of a key that are in flight at the same time.
pub(super) fn in_flight_twice(deliveries: &Deliveries) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut longest: HashMap<&str, &Delivery> = HashMap::new();
    // By when they began. What came from a host that was dead by then was not in flight at all.
    for delivery in deliveries.iter().filter(|delivery| delivery.end >= delivery.begin) {
        let Some(before) = longest.get(delivery.event.key.as_str()).copied() else {
            longest.insert(&delivery.event.key, delivery);
            continue;
        };
        if delivery.begin < before.end {
            violations.push(Violation::InFlightTwice {
                key: delivery.event.key.clone(),
                one: (before.event.id.clone(), before.member),
                other: (delivery.event.id.clone(), delivery.member),
                at: delivery.begin,
            });
        }
        if delivery.end > before.end {
            longest.insert(&delivery.event.key, delivery);
        }
    }
    violations
}
