//! One clock for everything that looks again and again, so that a thousand idle instances cost one wake-up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

/// Between two beats: a fraction of what people notice, and few enough of them for a host that sleeps.
const PERIOD: Duration = Duration::from_millis(100);

/// What looks at each beat. It must not wait.
pub(super) trait Beat: Send + Sync {
    /// Looks.
    fn beat(&self, now: Instant);
}

/// The clock of a mesh. It beats while anybody listens. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<Shared>);

#[derive(Default)]
struct Shared {
    listeners: Mutex<Listeners>,
    left: Notify,
}

#[derive(Default)]
struct Listeners {
    next: u64,
    all: BTreeMap<u64, Arc<dyn Beat>>,
    beating: bool,
}

/// Keeps a listener for as long as it is there.
#[derive(Debug)]
pub(super) struct Listening {
    pulse: Pulse,
    key: u64,
}

impl Pulse {
    /// Lets `listener` look at each beat. Gives what beats, to be run as a task, when nothing does yet.
    pub(super) fn listen(
        &self,
        listener: Arc<dyn Beat>,
    ) -> (Listening, Option<impl Future<Output = ()> + use<>>) {
        let mut listeners = self.0.lock();
        let key = listeners.next;
        listeners.next += 1;
        listeners.all.insert(key, listener);
        let starts = !std::mem::replace(&mut listeners.beating, true);
        let beating = starts.then(|| self.clone().run());
        (Listening { pulse: self.clone(), key }, beating)
    }

    /// Beats until nobody listens any more.
    async fn run(self) {
        let mut ticks = tokio::time::interval(PERIOD);
        // After a stall one look is as good as several.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.left.notified() => {}
            }
            let all: Vec<_> = {
                let mut listeners = self.0.lock();
                if listeners.all.is_empty() {
                    listeners.beating = false;
                    return;
                }
                listeners.all.values().cloned().collect()
            };
            let now = Instant::now();
            all.iter().for_each(|listener| listener.beat(now));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self.pulse.0.lock();
        let listener = listeners.all.remove(&self.key);
        if listeners.all.is_empty() {
            self.pulse.0.left.notify_one();
        }
        drop(listeners);
        // Not under the lock: whatever else it holds goes with it.
        drop(listener);
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("listeners", &self.0.lock().all.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Beat for Count {
        fn beat(&self, _: Instant) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beats_while_anybody_listens() {
        let (pulse, one, two) = (Pulse::default(), Arc::new(Count::default()), Arc::new(Count::default()));
        let (first, beating) = pulse.listen(one.clone());
        let beating = tokio::spawn(beating.unwrap());
        let (second, none) = pulse.listen(two.clone());
        assert!(none.is_none(), "one clock is enough");
        tokio::time::sleep(PERIOD * 10 + PERIOD / 2).await;
        assert_eq!((one.0.load(Ordering::Relaxed), two.0.load(Ordering::Relaxed)), (11, 11));
        drop(first);
        tokio::time::sleep(PERIOD * 10).await;
        assert_eq!((one.0.load(Ordering::Relaxed), two.0.load(Ordering::Relaxed)), (11, 21));
        drop(second);
        beating.await.unwrap();
        assert!(pulse.listen(one).1.is_some(), "and it can start again");
    }
}
