//! Metrics, sent to a collector every so often.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::client::{Client, Collector};
use super::metrics::request;
use crate::telemetry::Source;

/// How long a shutdown waits for the last metrics to be sent: a collector that is there takes milliseconds.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Sends metrics until it is finished or dropped.
#[derive(Debug)]
pub(crate) struct Push {
    finish: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Push {
    /// Sends what `source` reads, by tasks of `runtime`.
    pub(crate) fn start(collector: Collector, source: Source, runtime: &Handle) -> Self {
        let (finish, finished) = oneshot::channel::<()>();
        let task = runtime.spawn(async move {
            let client = collector.connect();
            tokio::select! {
                () = repeat(&collector, &client, &source) => {}
                last = finished => {
                    if last.is_ok() {
                        let sent = client.metrics(request(&source.read(), collector.resource()));
                        if tokio::time::timeout(LAST_EXPORT, sent).await.is_err() {
                            collector.warn(format_args!("the last metrics were not taken within {LAST_EXPORT:?}"));
                        }
                    }
                }
            }
        });
        Self { finish, task }
    }

    /// Sends everything once more, for at most two seconds, and returns when no task is left.
    pub(crate) async fn finish(self) {
        let Self { finish, task } = self;
        if finish.send(()).is_ok() {
            let _ = task.await;
        }
    }
}

async fn repeat(collector: &Collector, client: &Client, source: &Source) {
    let mut ticks = interval_at(Instant::now() + collector.interval(), collector.interval());
    // One that takes long is no reason to send the next ones in a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        client.metrics(request(&source.read(), collector.resource())).await;
    }
}
