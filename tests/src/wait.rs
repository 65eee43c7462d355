//! Waiting for what has no event.

use std::time::Duration;

/// Bound of every wait: far more than a busy machine needs, so that only what never comes meets it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and panics with `what` when nothing came within [`DEADLINE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain: {what}"))
}
