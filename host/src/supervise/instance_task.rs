//! The task of one instance: bring it up, follow it, start over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use plugmesh::admin::v1::{InstanceKind, InstanceState};
use rustls::ClientConfig;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::Mesh;
use super::backoff::Backoff;
use super::board::{Incarnation, InstanceStatus};
use super::bring_up::{STOP_PHASES, Up, bring_up};
use super::failure::{StartError, StartFailure, with_lines};
use super::process::{Launched, launch};
use super::remote::{Remote, reach};
use super::services::{announce, offer};
use crate::config::{Endpoint as RemoteEndpoint, PluginConfig, ProcessConfig};
use crate::identity::Watched;
use crate::instance::{Health, HealthWatch};
use crate::launch::{Exit, InstanceDirectory, Process};
use crate::name::{InstanceId, InstanceName};
use crate::route::{Availability, Endpoint, Route};
use crate::transport::{Lane, Pool, Spoken};

/// Where an instance comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// Started here.
    Process(Box<ProcessConfig>),
    /// Dialled.
    Remote(RemoteEndpoint),
}

/// The task of one instance. Dropping it cuts the instance off without phases.
#[derive(Debug)]
pub(super) struct InstanceTask {
    stop: watch::Sender<Option<Duration>>,
    ended: watch::Receiver<bool>,
    published: Arc<AtomicBool>,
    task: tokio::task::AbortHandle,
}

impl InstanceTask {
    /// Starts the task. `first` learns how the first start went.
    pub(super) fn spawn(
        mesh: &Mesh,
        config: Arc<PluginConfig>,
        route: Arc<Route>,
        ordinal: u32,
        origin: Origin,
        first: oneshot::Sender<Result<(), StartFailure>>,
    ) -> Self {
        let name = InstanceName::new(config.name.clone(), ordinal);
        let (stop, stopping) = watch::channel(None);
        let (alive, ended) = watch::channel(false);
        let published = Arc::new(AtomicBool::new(true));
        let mut runner = Runner {
            mesh: mesh.clone(),
            config,
            route,
            name,
            origin,
            stopping,
            published: published.clone(),
            restarts: 0,
        };
        let task = mesh.spawn(async move {
            runner.run(first).await;
            alive.send_replace(true);
        });
        Self { stop, ended, published, task }
    }

    /// Takes the instance off the board: another one of its name is on it now.
    pub(super) fn unpublish(&self) {
        self.published.store(false, Ordering::Release);
    }

    /// Puts it back.
    pub(super) fn publish(&self) {
        self.published.store(true, Ordering::Release);
    }

    /// Drains and stops the instance. Calls in flight may go on for `grace`.
    pub(super) async fn stop(self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        let mut ended = self.ended.clone();
        // The sender goes with the task, so this ends even when the task is aborted.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for InstanceTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Runner {
    mesh: Mesh,
    config: Arc<PluginConfig>,
    route: Arc<Route>,
    name: InstanceName,
    origin: Origin,
    stopping: watch::Receiver<Option<Duration>>,
    published: Arc<AtomicBool>,
    restarts: u32,
}

/// An instance that may be picked.
struct Running {
    endpoint: Arc<Endpoint>,
    pool: Pool,
    up: Up,
    process: Option<Process>,
    since: Instant,
    _held: Held,
    _registration: super::callers::Registration,
}

/// What an incarnation needs for as long as it lives.
enum Held {
    Files { _files: InstanceDirectory },
    Certificates { _certificates: Option<Watched<ClientConfig>> },
}

/// Why an instance that was up is not any more.
enum End {
    Stopped(Duration),
    Died(String),
}

impl Runner {
    async fn run(&mut self, first: oneshot::Sender<Result<(), StartFailure>>) {
        let mut first = Some(first);
        let mut backoff = Backoff::default();
        loop {
            let started = match self.start_or_stop().await {
                Ok(running) => {
                    if let Some(first) = first.take() {
                        let _ = first.send(Ok(()));
                    }
                    match self.follow(running).await {
                        (End::Stopped(_), _) => break,
                        (End::Died(why), ready_for) => Err((why, ready_for)),
                    }
                }
                Err(failure) if matches!(failure.error(), StartError::Stopped) => break,
                Err(failure) => {
                    let why = failure.to_string();
                    if let Some(first) = first.take() {
                        let _ = first.send(Err(failure));
                    }
                    Err((why, Duration::ZERO))
                }
            };
            let Err::<(), _>((why, ready_for)) = started else { break };
            let pause = backoff.next(ready_for);
            tracing::warn!(
                plugin = %self.name.plugin(), instance = %self.name,
                "{why}; next start in {}", humantime::format_duration(Duration::from_millis(pause.as_millis() as u64))
            );
            self.report(InstanceState::Backoff, &why, None);
            tokio::select! {
                () = tokio::time::sleep(pause) => self.restarts += 1,
                _ = stop_order(&mut self.stopping) => break,
            }
        }
        self.report(InstanceState::Stopped, "", None);
    }

    async fn start_or_stop(&mut self) -> Result<Running, StartFailure> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            _ = stop_order(&mut stopping) => Err(StartError::Stopped.into()),
            result = self.start() => result,
        }
    }

    async fn start(&self) -> Result<Running, StartFailure> {
        let (id, epoch, began) = (InstanceId::random(), self.mesh.next_epoch(), Instant::now());
        let incarnation = |address: String, pid, endpoint| Incarnation {
            id: id.clone(),
            epoch,
            address,
            pid,
            ready: None,
            endpoint,
        };
        self.report(InstanceState::Starting, "", Some(incarnation(String::new(), None, None)));
        let (dialer, opened, process, held) = match &self.origin {
            Origin::Process(source) => {
                let Launched { process, dialer, opened, files } =
                    launch(&self.mesh, &self.config, source, &self.name, &id).await?;
                (dialer, Some(opened), Some(process), Held::Files { _files: files })
            }
            Origin::Remote(remote) => {
                let Remote { dialer, certificates } = reach(remote)?;
                (dialer, None, None, Held::Certificates { _certificates: certificates })
            }
        };
        let last_lines = || process.as_ref().map(Process::last_lines).unwrap_or_default();
        let address = dialer.address().to_string();
        let pid = process.as_ref().map(Process::pid);
        let pool = self.mesh.pool(dialer, self.config.max_connections);
        if let Err(error) = pool.connect(opened).await {
            let error = explain(error.into(), process.as_ref(), &pool).await;
            return Err(StartFailure::new(error, last_lines()));
        }
        let endpoint = Endpoint::new(self.name.clone(), id.clone(), epoch, Lane::Http2(pool.clone()));
        let mut shown = incarnation(address, pid, Some(endpoint.clone()));
        self.report(InstanceState::Starting, "", Some(shown.clone()));
        let (registration, token) = self.mesh.callers().register(self.name.clone(), id, process.clone());
        let managed = matches!(self.origin, Origin::Process(_));
        let coming_up = async {
            let mut up = bring_up(&self.mesh, &self.config, &endpoint, token, managed).await?;
            let introduction = std::mem::take(&mut up.introduction);
            let offered = offer(&self.config, &endpoint, &introduction).await?;
            Ok((up, introduction, offered))
        };
        let came_up = tokio::select! {
            // A process that has ended explains more than the call that failed because of it.
            biased;
            exit = ended(process.as_ref()) => Err(StartError::Exited(exit)),
            up = coming_up => up,
        };
        let (up, introduction, offered) = match came_up {
            Ok(up) => up,
            Err(error) => {
                let error = explain(error, process.as_ref(), &pool).await;
                return Err(StartFailure::new(error, last_lines()));
            }
        };
        self.route.insert(endpoint.clone());
        self.route.set_availability(&endpoint, Availability::Ready);
        announce(&self.mesh, &self.config, &self.route, &endpoint, introduction, offered);
        shown.ready = Some((SystemTime::now(), began.elapsed()));
        self.report(InstanceState::Ready, "", Some(shown));
        tracing::info!(
            plugin = %self.name.plugin(), instance = %self.name, took_ms = began.elapsed().as_millis() as u64,
            "ready"
        );
        Ok(Running {
            endpoint,
            pool,
            up,
            process,
            since: Instant::now(),
            _held: held,
            _registration: registration,
        })
    }

    /// Follows an instance that is up until it ends or is to be stopped.
    async fn follow(&mut self, mut running: Running) -> (End, Duration) {
        let mut losses = Losses { since: running.since, quick: 0 };
        let end = loop {
            let mut stopping = self.stopping.clone();
            tokio::select! {
                biased;
                grace = stop_order(&mut stopping) => break End::Stopped(grace),
                exit = ended(running.process.as_ref()) => break died(exit, running.process.as_ref()),
                () = running.pool.lost() => {
                    if let Some(end) = self.reconnect(&mut running, &mut losses).await {
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
        self.wind_up(running, matches!(end, End::Stopped(_)), grace).await;
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

    /// Drain, stop phases, end of the process; or just its end when it has died.
    async fn wind_up(&self, mut running: Running, graceful: bool, grace: Duration) {
        let endpoint = &running.endpoint;
        if graceful {
            let deadline = Instant::now() + grace;
            self.route.set_availability(endpoint, Availability::Draining);
            self.change(|status| status.state = InstanceState::Draining);
            let drained = async {
                endpoint.drained().await;
                if let Some(phases) = &mut running.up.phases {
                    phases.drain(deadline.saturating_duration_since(Instant::now())).await;
                }
            };
            let _ = tokio::time::timeout_at(deadline, drained).await;
            if let Some(phases) = &mut running.up.phases
                && let Err(error) = phases.stop(STOP_PHASES).await
            {
                tracing::warn!(plugin = %self.name.plugin(), instance = %self.name, "{error}");
            }
        }
        self.route.remove(endpoint.id());
        running.pool.close();
        if let Some(process) = &running.process {
            process.stop(STOP_PHASES).await;
        }
        running.pool.abort();
    }

    fn report(&self, state: InstanceState, message: &str, incarnation: Option<Incarnation>) {
        let kind = match self.origin {
            Origin::Process(_) => InstanceKind::Process,
            Origin::Remote(_) => InstanceKind::Remote,
        };
        let (message, restarts) = (message.to_owned(), self.restarts);
        if self.published.load(Ordering::Acquire) {
            let name = self.name.clone();
            self.mesh.board().update(self.name.plugin(), |status| {
                let status = status.instances.entry(name.ordinal());
                status.insert_entry(InstanceStatus { name, kind, state, message, incarnation, restarts });
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut InstanceStatus)) {
        if self.published.load(Ordering::Acquire) {
            self.mesh.board().update(self.name.plugin(), |status| {
                if let Some(status) = status.instances.get_mut(&self.name.ordinal()) {
                    change(status);
                }
            });
        }
    }
}

/// Connections that an instance may lose in a row, each within [`QUICK`], before it counts as broken.
const MAX_LOSSES: u32 = 5;

/// A connection that was lost this soon was of no use.
const QUICK: Duration = Duration::from_secs(1);

/// How often connections to an instance were lost of late.
struct Losses {
    since: Instant,
    quick: u32,
}

impl Losses {
    fn are_too_many(&mut self) -> bool {
        self.quick = if self.since.elapsed() < QUICK { self.quick + 1 } else { 0 };
        self.since = Instant::now();
        self.quick >= MAX_LOSSES
    }
}

/// What is behind a connection that broke: the end of the process, or a peer that is no gRPC server.
async fn explain(error: StartError, process: Option<&Process>, pool: &Pool) -> StartError {
    if !error.is_broken_connection() {
        return error;
    }
    if let Ok(exit) = tokio::time::timeout(EXIT_AFTER_LOSS, ended(process)).await {
        return StartError::Exited(exit);
    }
    match (pool.spoken().await, pool.why_lost()) {
        (Some(spoken), _) if spoken != Spoken::Http2 => {
            StartError::NotHttp2 { address: pool.address().clone(), spoken }
        }
        (_, Some(why)) => StartError::Lost(why),
        (_, None) => error,
    }
}

fn died(exit: Exit, process: Option<&Process>) -> End {
    let mut why = format!("it {exit}");
    // Writing to a string cannot fail.
    let _ = with_lines(&mut why, &process.map(Process::last_lines).unwrap_or_default());
    End::Died(why)
}

/// How long to wait for word of a process's death after its connection was lost.
const EXIT_AFTER_LOSS: Duration = Duration::from_millis(200);

/// Waits for the order to stop, and gives the grace.
async fn stop_order(stopping: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match stopping.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        // The owner is gone without a word: at once.
        Err(_) => Duration::ZERO,
    }
}

async fn ended(process: Option<&Process>) -> Exit {
    match process {
        Some(process) => process.wait().await,
        None => std::future::pending().await,
    }
}
