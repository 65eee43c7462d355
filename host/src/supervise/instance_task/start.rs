//! From nothing to an endpoint that may be picked.

use std::sync::Arc;
use std::time::SystemTime;

use plugmesh::admin::v1::InstanceState;
use rustls::ClientConfig;
use tokio::time::Instant;

use super::Origin;
use super::follow::{EXIT_AFTER_LOSS, ended};
use super::runner::Runner;
use crate::event::{Attached, Part};
use crate::identity::Watched;
use crate::instance::{Health, Introduction};
use crate::launch::{InstanceDirectory, Process};
use crate::name::InstanceId;
use crate::route::{Availability, Endpoint};
use crate::supervise::Liveness;
use crate::supervise::board::Incarnation;
use crate::supervise::bring_up::{Up, bring_up};
use crate::supervise::callers;
use crate::supervise::events;
use crate::supervise::failure::{StartError, StartFailure};
use crate::supervise::process::{Launched, launch};
use crate::supervise::pulse::Listening;
use crate::supervise::remote::{Remote, reach};
use crate::supervise::scale::Role;
use crate::supervise::services::{Offer, announce, offer};
use crate::supervise::timeline::Timeline;
use crate::transport::{Lane, Pool, Spoken};

/// An instance that may be picked.
pub(super) struct Running {
    pub(super) endpoint: Arc<Endpoint>,
    /// What it offers, until it takes calls for the first time.
    pub(super) unannounced: Option<Unannounced>,
    /// Its stream of events, from then on.
    pub(super) attached: Option<Attached>,
    pub(super) pool: Pool,
    pub(super) up: Up,
    pub(super) process: Option<Process>,
    pub(super) since: Instant,
    pub(super) liveness: Arc<Liveness>,
    /// The last it said of its health.
    pub(super) word: Health,
    /// Whether its connections were cut because it hangs.
    pub(super) cut: bool,
    /// `None` when it is not asked.
    _listening: Option<Listening>,
    _held: Held,
    _registration: callers::Registration,
}

/// What an instance offers and takes part in.
pub(super) type Unannounced = Box<(Introduction, Offer, Option<Part>)>;

/// What an incarnation needs for as long as it lives.
enum Held {
    Files { _files: InstanceDirectory },
    Certificates { _certificates: Option<Arc<Watched<ClientConfig>>> },
}

impl Runner {
    pub(super) async fn start(&self) -> Result<Running, StartFailure> {
        let timeline = Timeline::new();
        self.start_timed(&timeline).await.map_err(|failure| failure.after(&timeline))
    }

    async fn start_timed(&self, timeline: &Timeline) -> Result<Running, StartFailure> {
        let (id, epoch) = (InstanceId::random(), self.mesh.next_epoch());
        let incarnation = |address: String, pid, endpoint| Incarnation {
            id: id.clone(),
            epoch,
            address,
            pid,
            ready: None,
            endpoint,
            liveness: None,
        };
        self.report(InstanceState::Starting, "", Some(incarnation(String::new(), None, None)));
        let (dialer, opened, process, held) = match &self.origin {
            Origin::Process(source) => {
                let Launched { process, dialer, opened, files } =
                    launch(&self.mesh, &self.config, source, &self.name, &id, timeline).await?;
                (dialer, Some(opened), Some(process), Held::Files { _files: files })
            }
            Origin::Remote(remote) => {
                let Remote { dialer, certificates } = reach(remote, self.mesh.certificates())?;
                (dialer, None, None, Held::Certificates { _certificates: certificates })
            }
        };
        let last_lines = || process.as_ref().map(Process::last_lines).unwrap_or_default();
        let address = dialer.address().to_string();
        let pid = process.as_ref().map(Process::pid);
        let connection = &self.route.policy().connection;
        let dialer = dialer.timeout(connection.connection_timeout);
        let pool = self.mesh.pool(dialer, connection.max_connections);
        if let Err(error) = pool.connect(opened).await {
            let error = explain(error.into(), process.as_ref(), &pool).await;
            return Err(StartFailure::new(error, last_lines()));
        }
        let endpoint = self.route.endpoint(self.name.clone(), id.clone(), epoch, Lane::Http2(pool.clone()));
        let mut shown = incarnation(address, pid, Some(endpoint.clone()));
        self.report(InstanceState::Starting, "", Some(shown.clone()));
        let (registration, token) = self.mesh.callers().register(self.name.clone(), id, process.clone());
        let managed = matches!(self.origin, Origin::Process(_));
        let coming_up = async {
            let mut up = bring_up(&self.mesh, &self.config, &endpoint, token, managed, timeline).await?;
            let mut introduction = std::mem::take(&mut up.introduction);
            let part = events::part(&self.mesh, &self.config, &endpoint, &mut introduction)?;
            let offered = offer(&self.config, &endpoint, &introduction).await?;
            Ok((up, introduction, offered, part))
        };
        let came_up = tokio::select! {
            // A process that has ended explains more than the call that failed because of it.
            biased;
            exit = ended(process.as_ref()) => Err(StartError::Exited(exit)),
            up = coming_up => up,
        };
        let (up, introduction, offered, part) = match came_up {
            Ok(up) => up,
            Err(error) => {
                let error = explain(error, process.as_ref(), &pool).await;
                return Err(StartFailure::new(error, last_lines()));
            }
        };
        if let Some(version) = introduction.version.as_ref().or(self.config.version.as_ref()) {
            endpoint.set_version(version.clone());
        }
        self.route.insert(endpoint.clone());
        let check = self.route.policy().health_check;
        let liveness = Liveness::new(endpoint.clone(), pool.clone(), check);
        let listening = check.enabled.then(|| self.mesh.listen(liveness.clone()));
        shown.liveness = Some(liveness.clone());
        shown.ready = Some((SystemTime::now(), timeline.elapsed()));
        let mut unannounced = Some(Box::new((introduction, offered, part)));
        let mut attached = None;
        // This may change its role, and another's with it.
        self.set_up(true);
        let (state, said) = match self.role() {
            Role::Serving => {
                self.route.set_availability(&endpoint, Availability::Ready);
                attached = self.announce(&endpoint, &mut unannounced);
                (InstanceState::Ready, "ready")
            }
            Role::Warm => (InstanceState::Warm, "warm"),
        };
        self.report(state, "", Some(shown));
        tracing::info!(
            plugin = %self.name.plugin(), instance = %self.name, took_ms = timeline.elapsed().as_millis() as u64,
            "{said}"
        );
        Ok(Running {
            endpoint,
            unannounced,
            attached,
            pool,
            up,
            process,
            since: Instant::now(),
            liveness,
            word: Health::Serving,
            cut: false,
            _listening: listening,
            _held: held,
            _registration: registration,
        })
    }
}

impl Runner {
    /// Routes calls to what an instance offers, the first time that it takes calls, and attaches it to the bus.
    pub(super) fn announce(
        &self,
        endpoint: &Arc<Endpoint>,
        unannounced: &mut Option<Unannounced>,
    ) -> Option<Attached> {
        let (introduction, offer, part) = *unannounced.take()?;
        announce(&self.mesh, &self.config, &self.route, endpoint, introduction, offer);
        events::attach(&self.mesh, endpoint, part?)
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
