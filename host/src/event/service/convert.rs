//! What the bus knows, as it is said on the wire.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use plugmesh::cloudevents::v1::CloudEvent;
use plugmesh::event::v1 as pb;
use prost::Message;
use tonic::Status;

use super::super::bus::Bus;
use super::super::dead_letters::DeadLetter;
use super::super::entries::Cause;
use super::super::subscription::Subscription;

pub(super) fn letter(letter: &DeadLetter) -> Result<pb::DeadLetter, Status> {
    let event = CloudEvent::decode(letter.event.clone())
        .map_err(|error| Status::data_loss(format!("dead letter {} cannot be read: {error}", letter.id)))?;
    Ok(pb::DeadLetter {
        id: letter.id,
        subscription: letter.subscription.to_string(),
        event: Some(event),
        cause: match letter.cause {
            Cause::MaxAttempts => pb::Cause::MaxAttempts,
            Cause::Rejected => pb::Cause::Rejected,
        } as i32,
        reason: letter.reason.clone(),
        attempts: letter.attempts,
        first_delivered: Some(letter.first_delivered.into()),
        given_up: Some(letter.given_up.into()),
    })
}

pub(super) fn stats(bus: &Bus) -> pb::GetStatsResponse {
    let counts = &bus.counts;
    let subscriptions: Vec<_> = bus.subscriptions().iter().map(|found| subscription(found)).collect();
    pb::GetStatsResponse {
        published: counts.published.load(Ordering::Relaxed),
        refused: counts.refused.load(Ordering::Relaxed),
        duplicates: 0,
        published_bytes: counts.published_bytes.load(Ordering::Relaxed),
        participants: bus.participants() as u64,
        last_event: time(counts.last.load(Ordering::Relaxed)),
        subscriptions,
        journal: None,
    }
}

fn subscription(subscription: &Subscription) -> pb::SubscriptionStats {
    let counted = subscription.counts.read();
    let (queued, in_flight) = subscription.load();
    pb::SubscriptionStats {
        name: subscription.name.to_string(),
        what: Some(subscription.spec.to_wire()),
        members: Vec::new(),
        delivered: counted.delivered,
        redelivered: counted.redelivered,
        acknowledged: counted.acknowledged,
        failed: counted.failed,
        given_up: counted.given_up,
        dropped: counted.dropped,
        queued: queued as u64,
        in_flight: in_flight as u64,
        lag: 0,
        blocked_publishers: subscription.blocked_publishers() as u64,
        last_event: time(counted.last),
    }
}

/// Milliseconds since 1970; 0 is never.
fn time(millis: u64) -> Option<prost_types::Timestamp> {
    (millis > 0).then(|| (SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).into())
}
