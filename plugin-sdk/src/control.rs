//! The control services of a plugin: the contract, health and reflection.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use plugmesh::plugin::v1::plugin_service_server::PluginService;
use plugmesh::plugin::v1::{
    ContractVersion, DrainRequest, DrainResponse, HandshakeRequest, HandshakeResponse, Phase,
    RunPhaseRequest, RunPhaseResponse,
};
use plugmesh::time::duration;
use tonic::{Request, Response, Status};

use crate::Context;
use crate::lifecycle::{self, DynLifecycle, Step};

pub(crate) mod health;
pub(crate) mod reflection;
pub(crate) mod session;

use session::Opened;

/// The version of `plugmesh.plugin` that this crate speaks.
const PLUGIN_VERSION: u32 = 1;

/// Serves `PluginService`.
pub(crate) struct Contract {
    about: HandshakeResponse,
    context: Context,
    phases: Arc<Phases>,
}

/// Runs the lifecycle, one phase at a time, and remembers whether there is something to clean up.
pub(crate) struct Phases {
    lifecycle: Option<DynLifecycle>,
    context: Context,
    /// True from the begin of a start phase until cleanup has begun. Held while a phase runs.
    to_clean: tokio::sync::Mutex<bool>,
}

impl Contract {
    /// `about` is what the plugin answers in every handshake.
    pub(crate) fn new(about: HandshakeResponse, context: Context, phases: Arc<Phases>) -> Self {
        Self { about, context, phases }
    }
}

#[tonic::async_trait]
impl PluginService for Contract {
    async fn handshake(
        &self,
        request: Request<HandshakeRequest>,
    ) -> Result<Response<HandshakeResponse>, Status> {
        let request = request.into_inner();
        let offered = request.contracts.iter().any(|offer| {
            offer.contract == plugmesh::PLUGIN_CONTRACT && offer.versions.contains(&PLUGIN_VERSION)
        });
        // A host that speaks another version learns ours from the answer, and goes no further.
        if offered {
            self.open(request)?;
        }
        let mut about = self.about.clone();
        about.contracts =
            vec![ContractVersion { contract: plugmesh::PLUGIN_CONTRACT.into(), version: PLUGIN_VERSION }];
        Ok(Response::new(about))
    }

    async fn run_phase(
        &self,
        request: Request<RunPhaseRequest>,
    ) -> Result<Response<RunPhaseResponse>, Status> {
        let RunPhaseRequest { session, phase, config_json } = request.into_inner();
        let step = Phase::try_from(phase)
            .ok()
            .and_then(|phase| Step::new(phase, &config_json).map(|step| (phase, step)));
        let Some((phase, step)) = step else {
            return Err(Status::invalid_argument(format!("{phase} is not a phase that this plugin knows")));
        };
        self.context.0.sessions.begin_phase(session.as_ref(), phase)?;
        if self.phases.lifecycle.is_none() {
            return Err(Status::unimplemented("this plugin has no lifecycle"));
        }
        self.phases.run(step).await?;
        Ok(Response::new(RunPhaseResponse {}))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        let DrainRequest { session, grace } = request.into_inner();
        self.context.0.sessions.check_managed(session.as_ref())?;
        let grace = said("grace time", grace)?;
        match grace {
            Some(grace) => tracing::info!(grace_s = grace.as_secs_f32(), "the host asks to drain"),
            None => tracing::info!("the host asks to drain"),
        }
        self.context.0.health.drain();
        within(grace, self.context.0.in_flight.none_left()).await;
        let in_flight = self.context.in_flight() as u64;
        Ok(Response::new(DrainResponse { in_flight }))
    }
}

impl Contract {
    fn open(&self, request: HandshakeRequest) -> Result<(), Status> {
        let HandshakeRequest { host, session, instance, callback, limits, managed, lease, .. } = request;
        let session = session.filter(|session| !session.session_id.is_empty());
        let session = session.ok_or_else(|| Status::invalid_argument("the session has no id"))?;
        let lease = said("lease", lease)?;
        let opened = Opened::new(session, host, instance, limits, managed, lease);
        let shared = &self.context.0;
        match shared.sessions.open(opened)? {
            session::Opening::New => {
                if !shared.stop.is_cancelled() {
                    shared.health.resume();
                }
                if let Some(callback) = &callback {
                    shared.link.follow(callback);
                }
                tracing::debug!(managed, "a host opened a session");
            }
            session::Opening::Renewed => {
                if let Some(callback) = &callback {
                    shared.link.follow(callback);
                }
            }
            session::Opening::Beside => tracing::debug!("another host asked who this plugin is"),
        }
        Ok(())
    }
}

impl Phases {
    pub(crate) fn new(lifecycle: Option<DynLifecycle>, context: Context) -> Self {
        Self { lifecycle, context, to_clean: tokio::sync::Mutex::new(false) }
    }

    /// Whether the plugin has a lifecycle.
    pub(crate) fn any(&self) -> bool {
        self.lifecycle.is_some()
    }

    /// Runs one phase, after the one that is running if there is one.
    pub(crate) async fn run(&self, step: Step<'_>) -> Result<(), Status> {
        let Some(lifecycle) = &self.lifecycle else {
            return Ok(());
        };
        let mut to_clean = self.to_clean.lock().await;
        *to_clean = match step {
            Step::PreInit | Step::Init { .. } | Step::PostInit => true,
            Step::PreCleanup => *to_clean,
            Step::Cleanup => false,
        };
        lifecycle.run(step, &self.context).await.map_err(|error| {
            let status = lifecycle::failure(error);
            tracing::error!(phase = step.name(), error = status.message(), "lifecycle phase failed");
            status
        })
    }

    /// Cleans up what was started and that nobody cleaned up.
    pub(crate) async fn clean_up(&self) {
        if !*self.to_clean.lock().await {
            return;
        }
        for step in [Step::PreCleanup, Step::Cleanup] {
            // Logged where it happens; the process ends either way.
            let _ = self.run(step).await;
        }
    }
}

/// A span of time that the host said, if it said one.
fn said(what: &str, span: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let negative = || Status::invalid_argument(format!("the {what} is negative"));
    span.map(|span| duration(span).ok_or_else(negative)).transpose()
}

/// Awaits `work`, for no longer than `time` if that is given.
pub(crate) async fn within(time: Option<Duration>, work: impl Future<Output = ()>) {
    match time {
        // A time-out is told from what the work has left undone.
        Some(time) => drop(tokio::time::timeout(time, work).await),
        None => work.await,
    }
}
