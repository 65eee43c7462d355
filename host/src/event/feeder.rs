//! Reads the journal for subscriptions that are not where it is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use plugmesh::cloudevents::EventRef;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::bus::Bus;
use super::durable::Durable;
use super::journal::{Change, Damaged, JournalError};
use super::progress::Start;
use super::recorder::refusal;
use super::run::events;
use super::subscription::{ReadEvents, Subscription, Wanted};

/// Events that are read at once for a subscription, and their bytes: the others have their turn after some milliseconds.
const MAX_EVENTS: u32 = 4096;
const MAX_BYTES: usize = 1 << 20;

/// Events among which one is looked for by its id.
const SEARCHED: u64 = 10_000_000;

/// After the journal could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Feeds subscriptions until it is told to end.
pub(super) async fn run(bus: Arc<Bus>, durable: Arc<Durable>, ending: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = ending.cancelled() => return,
            () = durable.hungry.some() => {}
        }
        for subscription in durable.hungry.take() {
            let done = match subscription.wanted() {
                None => Ok(()),
                Some(Wanted::Place(start)) => {
                    prepare(&bus, &durable, &subscription, start).await;
                    Ok(())
                }
                Some(Wanted::Name(start)) => {
                    durable.log.hand_out(&bus, &subscription, Some(start));
                    Ok(())
                }
                Some(Wanted::More) => {
                    durable.log.hand_out(&bus, &subscription, None);
                    Ok(())
                }
                Some(Wanted::Events { after, room }) => {
                    feed(&bus, &durable, &subscription, after, room).await
                }
            };
            if done.is_err() {
                // The journal has logged why. It is asked again, since it may get better.
                durable.hungry.add(&subscription);
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// Finds out where a subscription begins, and makes sure that it will still be known.
async fn prepare(bus: &Arc<Bus>, durable: &Durable, subscription: &Arc<Subscription>, start: Start) {
    let is_beginning = start == Start::Beginning;
    let begun = async {
        let Some(position) = place(durable, start).await? else { return Ok(None) };
        if let Some(cursor) = subscription.first_cursor(position) {
            durable.log.commit(vec![Change::SaveCursor(cursor)]).await?;
        }
        Ok::<_, JournalError>(Some(position))
    };
    match begun.await {
        Ok(Some(position)) => {
            let may_lack = if is_beginning { durable.log.last_place() } else { position };
            bus.after(subscription, subscription.begin(position, may_lack));
        }
        Ok(None) => {
            bus.refuse(subscription, Code::NotFound, "the journal holds no event with that id".to_owned());
        }
        Err(error) => {
            let (code, message) = refusal(&error);
            bus.refuse(subscription, code, message);
        }
    }
}

/// The place behind which something begins. `None`: there is none.
pub(super) async fn place(durable: &Durable, start: Start) -> Result<Option<u64>, JournalError> {
    let log = &durable.log;
    Ok(match start {
        Start::End => Some(durable.head.load(Ordering::SeqCst)),
        Start::Beginning => Some(log.first_place() - 1),
        Start::Time(time) => Some(log.first_at_or_after(time).await? - 1),
        Start::AfterPlace(place) => Some(place.min(log.last_place())),
        Start::AfterId(id) => log.find_newest(&id, SEARCHED).await?,
    })
}

/// Reads what follows for a subscription.
async fn feed(
    bus: &Arc<Bus>,
    durable: &Durable,
    subscription: &Arc<Subscription>,
    after: u64,
    room: usize,
) -> Result<(), JournalError> {
    if after >= durable.head.load(Ordering::SeqCst) {
        let nothing = ReadEvents { through: after, ..ReadEvents::default() };
        let consequences = subscription.push_read(nothing, &durable.head);
        bus.after(subscription, consequences);
        return Ok(());
    }
    let most = u32::try_from(room).unwrap_or(MAX_EVENTS).min(MAX_EVENTS);
    let read = durable.log.read(after, most, MAX_BYTES).await?;
    let is_wanted = |stream: &str| {
        durable
            .pattern_of(stream)
            .is_some_and(|kept| subscription.spec.patterns.iter().any(|wanted| wanted.overlaps(kept)))
    };
    let removed = read.removed.iter().filter(|(stream, _)| is_wanted(stream)).map(|(_, last)| *last).max();
    let damaged = read.damaged.iter().filter(|damaged| is_wanted(&damaged.stream));
    let damaged = damaged.map(|damaged: &Damaged| u64::from(damaged.count)).sum();
    let mut wanted = Vec::new();
    for stored in &read.stored {
        for (place, event) in (stored.first_place..).zip(events(&stored.bytes)) {
            if let Ok(view) = EventRef::check(&stored.bytes[event.clone()])
                && subscription.wants(view)
            {
                // A copy, so that one event does not keep all that were read with it.
                wanted.push((place, Bytes::copy_from_slice(&stored.bytes[event])));
            }
        }
    }
    let found =
        ReadEvents { events: wanted, removed: removed.unwrap_or_default(), damaged, through: read.through };
    let consequences = subscription.push_read(found, &durable.head);
    bus.after(subscription, consequences);
    Ok(())
}
