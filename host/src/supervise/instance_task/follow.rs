//! An instance that is up, until it ends or is to be stopped.

use std::pin::Pin;
use std::time::Duration;

use plugmesh::admin::v1::InstanceState;
use tokio::time::Instant;

use super::runner::{Runner, stop_order};
use super::start::Running;
use crate::instance::{Health, HealthWatch};
use crate::launch::{Exit, Process};
use crate::route::{Availability, Endpoint};
use crate::supervise::failure::with_lines;
use crate::supervise::liveness::{Checked, Thought};
use crate::supervise::scale::{Place, Role};

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

/// A health check under way. Boxed, since there is hardly ever one.
type Checking = Pin<Box<dyn Future<Output = Checked> + Send>>;

impl Runner {
    /// Follows an instance that is up until it ends or is to be stopped.
    pub(super) async fn follow(&mut self, mut running: Running) -> (End, Duration) {
        let mut losses = Losses { since: running.since, quick: 0 };
        let mut checking: Option<Checking> = None;
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
                // When the watch breaks while the connection holds, the last word stands.
                word = running.up.health.next() => if let Ok(word) = word {
                    running.word = word;
                    running.liveness.heard();
                    self.turn(&mut running);
                },
                checked = outcome(&mut checking) => {
                    checking = None;
                    if let Some(end) = self.judge(&mut running, checked) {
                        break end;
                    }
                }
                () = running.liveness.doubted() => self.turn(&mut running),
                () = role_changed(&mut self.place) => self.turn(&mut running),
                () = running.liveness.due(), if checking.is_none() => {
                    checking = Some(Box::pin(running.liveness.clone().check()));
                }
            }
        };
        drop(checking);
        let ready_for = running.since.elapsed();
        let grace = match end {
            End::Stopped(grace) => grace,
            End::Died(_) => {
                // Another one steps in before anything else is done.
                self.set_up(false);
                Duration::ZERO
            }
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

    /// Takes note of a health check. Gives the end of a child that has been hung for too long.
    fn judge(&self, running: &mut Running, Checked { thought, word }: Checked) -> Option<End> {
        if let Some(word) = word {
            running.word = word;
        }
        self.turn(running);
        if thought == Thought::Hung && !std::mem::replace(&mut running.cut, true) {
            // Whoever waits for it may do better elsewhere. It gets new connections, should it come back.
            running.pool.abort();
        }
        running.cut &= thought == Thought::Hung;
        let process = running.process.as_ref().filter(|_| running.liveness.is_overdue())?;
        let silent = humantime::format_duration(Duration::from_secs(running.liveness.silent_for().as_secs()));
        let mut why = format!("it did not answer for {silent}, so it was killed");
        let _ = with_lines(&mut why, &process.last_lines());
        process.kill();
        Some(End::Died(why))
    }

    fn has_other(&self, this: &Endpoint) -> bool {
        let is_ready = |other: &Endpoint| other.availability() == Availability::Ready;
        self.route.endpoints().iter().any(|other| other.id() != this.id() && is_ready(other))
    }

    /// Lets an instance be picked, or not, by what it says and whether it answers.
    fn turn(&self, running: &mut Running) {
        let endpoint = &running.endpoint;
        let availability = match (running.liveness.thought(), running.word) {
            (Thought::Hung, _) => Availability::Unhealthy(hung(running.process.as_ref()).into()),
            // Better than nothing as long as there is nothing better.
            (Thought::Suspect, _) if self.has_other(endpoint) => {
                Availability::Unhealthy("it has not answered a health check yet".into())
            }
            (_, Health::NotServing) => Availability::Unhealthy("its health is NOT_SERVING".into()),
            (_, Health::Serving) => Availability::Ready,
        };
        let before = endpoint.availability();
        // Whoever drains it has the last word.
        if before == Availability::Draining {
            return;
        }
        // This may change its role, and another's with it.
        self.set_up(availability == Availability::Ready);
        let (availability, state, message) = match (availability, self.role()) {
            (Availability::Ready, Role::Serving) => {
                (Availability::Ready, InstanceState::Ready, String::new())
            }
            (Availability::Ready, Role::Warm) => (Availability::Starting, InstanceState::Warm, String::new()),
            (other, _) => {
                let message = other.to_string();
                (other, InstanceState::Unhealthy, message)
            }
        };
        if before == availability {
            return;
        }
        let shown = if state == InstanceState::Warm { "warm".to_owned() } else { availability.to_string() };
        tracing::info!(plugin = %self.name.plugin(), instance = %self.name, "{shown}");
        let is_ready = availability == Availability::Ready;
        self.route.set_availability(&running.endpoint, availability);
        if is_ready && let Some(attached) = self.announce(&running.endpoint, &mut running.unannounced) {
            running.attached = Some(attached);
        }
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

async fn outcome(checking: &mut Option<Checking>) -> Checked {
    match checking {
        Some(checking) => checking.await,
        None => std::future::pending().await,
    }
}

async fn role_changed(place: &mut Option<Place>) {
    match place {
        Some(place) => place.changed().await,
        None => std::future::pending().await,
    }
}

fn hung(process: Option<&Process>) -> &'static str {
    match process.is_some_and(Process::is_stopped) {
        true => "it does not answer its health check: its process is stopped, by SIGSTOP or a debugger",
        false => "it does not answer its health check",
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
