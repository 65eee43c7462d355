//! From the last call to the end of the process.

use std::time::Duration;

use plugmesh::admin::v1::InstanceState;
use tokio::time::Instant;

use super::runner::Runner;
use super::start::Running;
use crate::route::Availability;
use crate::supervise::bring_up::STOP_PHASES;

impl Runner {
    /// Drain, stop phases, end of the process; or just its end when it has died.
    pub(super) async fn wind_up(&self, mut running: Running, graceful: bool, grace: Duration) {
        let endpoint = &running.endpoint;
        if graceful {
            let deadline = Instant::now() + grace;
            self.route.set_availability(endpoint, Availability::Draining);
            self.change(|status| status.state = InstanceState::Draining);
            let attached = running.attached.take();
            let drained = async {
                if let Some(attached) = attached {
                    attached.detach(grace).await;
                }
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
}
