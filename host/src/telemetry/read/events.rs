//! What is counted of events, by subscription.

use super::text;
use crate::event::Statistics;
use crate::telemetry::catalogue::*;
use crate::telemetry::metrics::Metrics;

const SUBSCRIPTION: &str = "plugmesh.subscription";

pub(super) fn read_events(metrics: &mut Metrics, events: &Statistics) {
    let none = Vec::new();
    for (meta, count) in [
        (PUBLISHED, events.published),
        (PUBLISHED_BYTES, events.published_bytes),
        (REFUSED, events.refused),
        (DUPLICATES, events.duplicates),
        (PARTICIPANTS, events.participants),
    ] {
        metrics.count(&meta, &none, count);
    }
    for subscription in &events.subscriptions {
        let labels = vec![(SUBSCRIPTION, text(&*subscription.name))];
        let counted = subscription.counted;
        for (meta, count) in [
            (DELIVERED, counted.delivered),
            (REDELIVERED, counted.redelivered),
            (ACKNOWLEDGED, counted.acknowledged),
            (FAILED, counted.failed),
            (DEAD_LETTERED, counted.given_up),
            (DROPPED, counted.dropped),
            (EVENTS_QUEUED, subscription.queued),
            (EVENTS_IN_FLIGHT, subscription.in_flight),
            (LAG, subscription.lag),
            (BLOCKED, subscription.blocked_publishers),
        ] {
            metrics.count(&meta, &labels, count);
        }
    }
    if let Some(journal) = &events.journal {
        metrics.count(&JOURNAL_EVENTS, &none, journal.events);
        metrics.count(&JOURNAL_LETTERS, &none, journal.dead_letters);
    }
}
