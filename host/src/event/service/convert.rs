//! What the bus knows, as it is said on the wire.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use plugmesh::cloudevents::v1::CloudEvent;
use plugmesh::event::v1 as pb;
use prost::Message;

use super::super::bus::Bus;
use super::super::journal::{DeadLetter, JournalError};
use super::super::statistics::SubscriptionStatistics;
use super::super::subscription::Subscription;

pub(super) fn letter(letter: DeadLetter) -> pb::DeadLetter {
    let DeadLetter { id, letter, is_sound } = letter;
    // One that is damaged is shown as far as it can be.
    let event = CloudEvent::decode(letter.event.clone()).ok();
    let damaged = if is_sound { "" } else { " (this letter is damaged in the journal)" };
    pb::DeadLetter {
        id,
        subscription: letter.subscription,
        event,
        cause: letter.cause as i32,
        reason: letter.reason + damaged,
        attempts: letter.attempts,
        first_delivered: Some(letter.first_delivered.into()),
        given_up: Some(letter.given_up.into()),
    }
}

pub(super) async fn stats(bus: &Bus) -> Result<pb::GetStatsResponse, JournalError> {
    let counts = &bus.counts;
    let journal = match bus.durable() {
        Some(durable) => Some(durable.journal.stats().await?),
        None => None,
    };
    let last = journal.as_ref().map_or(0, |journal| journal.last_place);
    let subscriptions = bus.subscriptions();
    Ok(pb::GetStatsResponse {
        published: counts.published.load(Ordering::Relaxed),
        refused: counts.refused.load(Ordering::Relaxed),
        duplicates: counts.duplicates.load(Ordering::Relaxed),
        published_bytes: counts.published_bytes.load(Ordering::Relaxed),
        participants: bus.participants() as u64,
        last_event: time(counts.last.load(Ordering::Relaxed)),
        subscriptions: subscriptions.iter().map(|found| subscription(bus, found, last)).collect(),
        journal: journal.map(|journal| pb::JournalStats {
            events: journal.events,
            bytes: journal.bytes,
            first_place: journal.first_place,
            last_place: journal.last_place,
            commits: journal.commits,
            dead_letters: journal.dead_letters,
            problem: journal.problem.unwrap_or_default(),
        }),
    })
}

/// `last` is the last place of the journal.
fn subscription(bus: &Bus, subscription: &Subscription, last: u64) -> pb::SubscriptionStats {
    let SubscriptionStatistics { name, counted, queued, in_flight, lag, blocked_publishers } =
        SubscriptionStatistics::of(subscription, last);
    pb::SubscriptionStats {
        name: name.to_string(),
        what: Some(subscription.wire.clone()),
        members: bus.names(&subscription.members()),
        delivered: counted.delivered,
        redelivered: counted.redelivered,
        acknowledged: counted.acknowledged,
        failed: counted.failed,
        given_up: counted.given_up,
        dropped: counted.dropped,
        queued,
        in_flight,
        lag,
        blocked_publishers,
        last_event: time(counted.last),
    }
}

/// Milliseconds since 1970; 0 is never.
fn time(millis: u64) -> Option<prost_types::Timestamp> {
    (millis > 0).then(|| (SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).into())
}
