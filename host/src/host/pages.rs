//! What the gateway shows to those who speak plain HTTP.

use std::sync::Arc;

use plugmesh::admin::v1::PluginState;

use super::Shared;
use crate::gateway::Pages;
use crate::supervise::PluginStatus;
use crate::telemetry::{Source, TEXT_TYPE};

/// Metrics of a host, and whether it serves.
pub(super) struct HostPages {
    pub(super) metrics: Arc<Source>,
    pub(super) shared: Arc<Shared>,
}

impl Pages for HostPages {
    fn metrics(&self) -> (String, &'static str) {
        (self.metrics.read().to_string(), TEXT_TYPE)
    }

    /// It serves when no plugin is on its first way up any more, and not all have failed: one that is broken is no reason to
    /// keep calls from the others.
    fn ready(&self) -> Result<(), String> {
        if self.shared.shutdown.borrow().is_some() {
            return Err("the host is shutting down".to_owned());
        }
        let board = self.shared.mesh.board().snapshot();
        let state = PluginStatus::state;
        let wanted = || board.values().filter(|status| !is_left_out(state(status)));
        let say = |which: fn(PluginState) -> bool| {
            let named = wanted().filter(|status| which(state(status))).map(|status| {
                let name =
                    state(status).as_str_name().trim_start_matches("PLUGIN_STATE_").to_ascii_lowercase();
                format!("{} is {name}", status.config.name)
            });
            named.collect::<Vec<_>>().join(", ")
        };
        let starting = say(|state| matches!(state, PluginState::Building | PluginState::Starting));
        if !starting.is_empty() {
            return Err(starting);
        }
        let serves = |state| matches!(state, PluginState::Ready | PluginState::Degraded | PluginState::Idle);
        if wanted().next().is_some() && !wanted().any(|status| serves(state(status))) {
            return Err(say(|_| true));
        }
        Ok(())
    }
}

fn is_left_out(state: PluginState) -> bool {
    matches!(state, PluginState::Disabled | PluginState::Skipped)
}
