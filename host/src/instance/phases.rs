//! The lifecycle of an instance: start phases, drain, stop phases.

use std::sync::Arc;
use std::time::Duration;

use plugmesh::plugin::v1::plugin_service_client::PluginServiceClient;
use plugmesh::plugin::v1::{DrainRequest, Phase, RunPhaseRequest, Session};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::words;
use crate::route::{Endpoint, EndpointChannel};

/// Runs the lifecycle of one session.
#[derive(Clone, Debug)]
pub struct Phases {
    client: PluginServiceClient<EndpointChannel>,
    session: Session,
}

/// Why a phase did not happen.
#[derive(Debug, thiserror::Error)]
pub enum PhaseError {
    /// The plugin said no.
    #[error("{} failed: {}", phase.as_str_name(), words(status))]
    Failed {
        /// Which phase.
        phase: Phase,
        /// What the plugin said.
        #[source]
        status: Box<Status>,
    },
    /// No answer in time.
    #[error("{} did not end within {after:?}; look at its log for what it waits for", phase.as_str_name())]
    Timeout {
        /// Which phase.
        phase: Phase,
        /// The bound.
        after: Duration,
    },
}

impl Phases {
    /// The lifecycle of the session that `endpoint` has accepted.
    pub fn new(endpoint: &Arc<Endpoint>, session: Session) -> Self {
        Self { client: PluginServiceClient::new(endpoint.channel()), session }
    }

    /// PRE_INIT, INIT with the configuration, POST_INIT.
    ///
    /// # Errors
    /// A phase fails, or they are not over at `deadline`, which the error shows as `within`. UNIMPLEMENTED is no
    /// failure.
    pub async fn start(
        &mut self,
        config_json: Vec<u8>,
        deadline: Instant,
        within: Duration,
    ) -> Result<(), PhaseError> {
        for (phase, config) in
            [(Phase::PreInit, Vec::new()), (Phase::Init, config_json), (Phase::PostInit, Vec::new())]
        {
            let left = deadline.saturating_duration_since(Instant::now());
            self.run(phase, config, left, within).await?;
        }
        Ok(())
    }

    /// PRE_CLEANUP and CLEANUP. The instance ends whatever it answers, so the first failure is only told.
    ///
    /// # Errors
    /// A phase fails, or both together take longer than `within`.
    pub async fn stop(&mut self, within: Duration) -> Result<(), PhaseError> {
        let deadline = Instant::now() + within;
        for phase in [Phase::PreCleanup, Phase::Cleanup] {
            let left = deadline.saturating_duration_since(Instant::now());
            self.run(phase, Vec::new(), left, within).await?;
        }
        Ok(())
    }

    /// Asks the plugin to finish what is in flight; gives the number of calls that did not finish in time.
    /// A plugin that cannot drain, or is gone, has nothing in flight as far as anybody can tell.
    pub async fn drain(&mut self, grace: Duration) -> u64 {
        let request = DrainRequest {
            session: Some(self.session.clone()),
            grace: prost_types::Duration::try_from(grace).ok(),
        };
        match tokio::time::timeout(grace, self.client.drain(request)).await {
            Ok(Ok(response)) => response.into_inner().in_flight,
            Ok(Err(_)) | Err(_) => 0,
        }
    }

    async fn run(
        &mut self,
        phase: Phase,
        config_json: Vec<u8>,
        left: Duration,
        within: Duration,
    ) -> Result<(), PhaseError> {
        let request =
            RunPhaseRequest { session: Some(self.session.clone()), phase: phase.into(), config_json };
        match tokio::time::timeout(left, self.client.run_phase(request)).await {
            Err(_) => Err(PhaseError::Timeout { phase, after: within }),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(()),
            Ok(Err(status)) => Err(PhaseError::Failed { phase, status: Box::new(status) }),
        }
    }
}
