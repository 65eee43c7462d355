//! Keeps in the journal how far durable subscriptions have come, and what they have given up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::durable::Durable;
use super::journal::{Change, JournalError};
use super::subscription::{Subscription, Unsaved};

/// From one commit to the next: what was handled within it comes once more after a crash. A commit takes some tens of microseconds.
const INTERVAL: Duration = Duration::from_millis(5);

/// After a commit that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes of one commit, about: far below what the journal takes.
const MAX_BYTES: usize = 4 << 20;

/// Saves what subscriptions have to have saved, until it is told to end and has saved all.
pub(super) async fn run(durable: Arc<Durable>, ending: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = durable.unsaved.some() => {}
            () = ending.cancelled() => return,
        }
        let pause = match save(&durable).await {
            Ok(()) => INTERVAL,
            // It does not get better by waiting for it.
            Err(_) if ending.is_cancelled() => return,
            Err(_) => PAUSE,
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = ending.cancelled() => {}
        }
    }
}

/// Saves what there is to save now. What cannot be saved is still to be saved.
async fn save(durable: &Durable) -> Result<(), JournalError> {
    let mut subscriptions = durable.unsaved.take();
    while !subscriptions.is_empty() {
        let (batch, changes) = gather(durable, &mut subscriptions);
        if changes.is_empty() {
            continue;
        }
        match durable.log.commit(changes).await {
            Ok(_) => batch.into_iter().for_each(|(subscription, unsaved)| subscription.saved(unsaved)),
            Err(error) => {
                for (subscription, unsaved) in batch {
                    subscription.not_saved(unsaved);
                    durable.unsaved.add(&subscription);
                }
                subscriptions.iter().for_each(|subscription| durable.unsaved.add(subscription));
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Takes what fits into a commit, with the changes that it is.
fn gather(
    durable: &Durable,
    subscriptions: &mut VecDeque<Arc<Subscription>>,
) -> (Vec<(Arc<Subscription>, Unsaved)>, Vec<Change>) {
    let (mut batch, mut all, mut bytes) = (Vec::new(), Vec::new(), 0);
    while bytes < MAX_BYTES
        && let Some(subscription) = subscriptions.pop_front()
    {
        let unsaved = subscription.unsaved(durable.delivered.load(Ordering::SeqCst));
        let changes = unsaved.changes();
        bytes += changes.iter().map(Change::bytes).sum::<usize>();
        all.extend(changes);
        batch.push((subscription, unsaved));
    }
    (batch, all)
}
