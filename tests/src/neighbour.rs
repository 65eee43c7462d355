//! A healthy plugin beside one that is maltreated.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::calculator::AddRequest;
use crate::daemon::Daemon;

/// Between two calls: enough calls to meet every moment of a fault, few enough to leave the machine to it.
const PAUSE: Duration = Duration::from_millis(2);

/// Calls to the calculator of a daemon, one after the other, until [`finish`](Self::finish).
#[derive(Debug)]
#[must_use = "a neighbour is asked in the end whether it noticed"]
pub struct Neighbour {
    stop: CancellationToken,
    calls: JoinHandle<(u64, Vec<tonic::Status>)>,
}

impl Neighbour {
    /// Starts calling; the calculator must be one of the plugins. The first call has been answered when this
    /// returns.
    pub async fn of(daemon: &Daemon) -> Self {
        let mut calculator = daemon.calculator();
        let request = AddRequest { a: 40.0, b: 2.0 };
        calculator.add(request).await.expect("a calculator that is well");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let calls = tokio::spawn(async move {
            let (mut calls, mut failures) = (1, Vec::new());
            while !stopped.is_cancelled() {
                match calculator.add(request).await {
                    Ok(answer) => assert_eq!(answer.into_inner().value, 42.0),
                    Err(status) => failures.push(status),
                }
                calls += 1;
                tokio::time::sleep(PAUSE).await;
            }
            (calls, failures)
        });
        Self { stop, calls }
    }

    /// Stops calling, checks that no call failed, and tells how many there were.
    pub async fn finish(self) -> u64 {
        self.stop.cancel();
        let (calls, failures) = self.calls.await.expect("answers that are right");
        let first = failures.first();
        assert!(failures.is_empty(), "{} of {calls} calls failed, first: {first:?}", failures.len());
        calls
    }
}
