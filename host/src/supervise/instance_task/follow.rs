//! An instance that is up, until it ends or is to be stopped.

use std::time::Duration;

use plugmesh::admin::v1::InstanceState;
use tokio::time::Instant;

use super::runner::{Runner, stop_order};
use super::start::Running;
use crate::instance::{Health, HealthWatch};
use crate::launch::{Exit, Process};
use crate::route::{Availability, Endpoint};
use crate::supervise::failure::with_lines;

/// How long to wait for word of a process's death after its connection was lost.
pub(super) const EXIT_AFTER_LOSS: Duration = Duration::from_millis(200);

/// Connections that an instance may lose in a row, each within [`QUICK`], before it counts as broken.
const MAX_LOSSES: u32 = 5;

/// A connection that was lost this soon was of no use.
const QUICK: Duration = Duration::from_secs(1);

/// Why an instance that was up is not any more.
pub(super) enum End {
    Stopped(Duration),
    Died(String),
}

/// How often connections to an instance were lost of late.
struct Losses {
    since: Instant,
    quick: u32,
}

impl Runner {
    /// Follows an instance that is up until it ends or is to be stopped.
    pub(super) async fn follow(&mut self, mut running: Running) -> (End, Duration) {
        let mut losses = Losses { since: running.since, quick: 0 };
        let end = loop {
            let mut stopping = self.stopping.clone();
            tokio::select! {
                biased;
                grace = stop_order(&mut stopping) => break End::Stopped(grace),
                exit = ended(running.process.as_ref()) => break died(exit, running.process.as_ref()),
                () = running.pool.lost() => {
                    if let Some(end) = Box::pin(self.reconnect(&mut running, &mut losses)).await {
                        break end;
                    }
                }
                health = running.up.health.next() => {
                    let availability = match health {
                        Ok(Health::Serving) => Availability::Ready,
                        Ok(Health::NotServing) => Availability::Unhealthy("its health is NOT_SERVING".into()),
                        // The watch broke while the connection holds: the last word stands.
                        Err(_) => continue,
                    };
                    self.turn(&running.endpoint, availability);
                }
            }
        };
        let ready_for = running.since.elapsed();
        let grace = match end {
            End::Stopped(grace) => grace,
            End::Died(_) => Duration::ZERO,
        };
        Box::pin(self.wind_up(running, matches!(end, End::Stopped(_)), grace)).await;
        (end, ready_for)
    }

    /// The connection is gone: because the instance is, or for a reason of its own, such as a server that renews
    /// its connections. Calls meanwhile fail or go elsewhere. Gives the end when the instance is gone, or loses
    /// its connections faster than calls could be made on them.
    async fn reconnect(&mut self, running: &mut Running, losses: &mut Losses) -> Option<End> {
        // The kernel closes the sockets of a dying process a moment before it reports the death.
        if let Ok(exit) = tokio::time::timeout(EXIT_AFTER_LOSS, ended(running.process.as_ref())).await {
            return Some(died(exit, running.process.as_ref()));
        }
        if losses.are_too_many() {
            return Some(End::Died(format!("it closed {MAX_LOSSES} connections as soon as they were open")));
        }
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            grace = stop_order(&mut stopping) => return Some(End::Stopped(grace)),
            exit = ended(running.process.as_ref()) => return Some(died(exit, running.process.as_ref())),
            connected = running.pool.connect(None) => if let Err(error) = connected {
                return Some(End::Died(format!("the connection was lost, and there is no new one: {error}")));
            },
        }
        running.up.health = HealthWatch::new(&running.endpoint);
        None
    }

    fn turn(&self, endpoint: &Endpoint, availability: Availability) {
        if endpoint.availability() == availability {
            return;
        }
        let (state, message) = match &availability {
            Availability::Ready => (InstanceState::Ready, String::new()),
            other => (InstanceState::Unhealthy, other.to_string()),
        };
        tracing::info!(plugin = %self.name.plugin(), instance = %self.name, "{availability}");
        self.route.set_availability(endpoint, availability);
        self.change(|status| {
            status.state = state;
            status.message = message;
        });
    }
}

impl Losses {
    fn are_too_many(&mut self) -> bool {
        self.quick = if self.since.elapsed() < QUICK { self.quick + 1 } else { 0 };
        self.since = Instant::now();
        self.quick >= MAX_LOSSES
    }
}

fn died(exit: Exit, process: Option<&Process>) -> End {
    let mut why = format!("it {exit}");
    // Writing to a string cannot fail.
    let _ = with_lines(&mut why, &process.map(Process::last_lines).unwrap_or_default());
    End::Died(why)
}

/// Waits for the end of the process, if there is one.
pub(super) async fn ended(process: Option<&Process>) -> Exit {
    match process {
        Some(process) => process.wait().await,
        None => std::future::pending().await,
    }
}
