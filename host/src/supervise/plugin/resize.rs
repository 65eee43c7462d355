//! More instances, or fewer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plugmesh::admin::v1::InstanceState;

use super::{Departing, Instances, Plugin, State};
use crate::supervise::board::{PluginStatus, Stage};
use crate::supervise::bring_up::STOP_PHASES;
use crate::supervise::instance_task::InstanceTask;

impl Plugin {
    /// Starts or stops instances until `wanted` of them take calls. Those that stop drain first, beside whatever else is
    /// done with the plugin.
    ///
    /// `scaling` is the id of who asks: it has no say any more when the plugin was stopped or replaced since.
    pub(super) async fn resize(&self, scaling: u64, wanted: u32) {
        let mut state = self.0.state.lock().await;
        let State { config, route, instances: Instances { tasks, scaling: scaled }, departing } = &mut *state;
        let Some(scaled) = scaled.as_mut().filter(|scaled| scaled.scaling.id() == scaling) else { return };
        let scaling = scaled.scaling.clone();
        scaling.begin(wanted);
        let before = self.0.mesh.board().get(&self.0.name).map_or(0, |status| status.wanted);
        tracing::info!(plugin = %self.0.name, "{before} instances took calls, {wanted} will");
        self.0.mesh.board().update(&self.0.name, |status| {
            status.stage = if wanted == 0 { Stage::Idle } else { Stage::Running };
            // What was attached comes on top.
            status.wanted = wanted + (tasks.len() - scaled.ordinals.len()) as u32;
        });
        let total = scaling.total(wanted) as usize;
        let mut leaving = Vec::new();
        while scaled.ordinals.len() > total
            && let Some(ordinal) = scaled.ordinals.pop_last()
        {
            scaling.roster.leave(ordinal);
            leaving.extend(tasks.remove(&ordinal).map(|task| (ordinal, task)));
        }
        let missing = total.saturating_sub(scaled.ordinals.len());
        let free = (0..).filter(|ordinal| !tasks.contains_key(ordinal)).take(missing);
        let added: Vec<_> = free.collect();
        let places: Vec<_> = added.iter().map(|ordinal| scaling.roster.place(*ordinal)).collect();
        // Before anything stops, so that who is warm steps in first.
        scaling.roster.balance(wanted);
        for (ordinal, place) in added.into_iter().zip(places) {
            departing.take_ordinal(ordinal);
            let (task, _) = self.spawn(config, route, ordinal, scaled.origin.clone(), Some(place));
            tasks.insert(ordinal, task);
            scaled.ordinals.insert(ordinal);
        }
        for (ordinal, task) in leaving {
            self.depart(departing, ordinal, task, config.drain_timeout);
        }
        scaling.end();
    }

    /// Starts an instance when none takes calls since nobody called. Cheap, and does nothing otherwise.
    pub fn wake(&self) {
        // A plugin that is being changed is not asleep, or will be woken by the next call.
        if let Ok(state) = self.0.state.try_lock()
            && let Some(scaled) = &state.instances.scaling
        {
            scaled.scaling.wake();
        }
    }

    fn depart(&self, departing: &mut Departing, ordinal: u32, task: InstanceTask, grace: Duration) {
        let (mesh, name, published) = (self.0.mesh.clone(), self.0.name.clone(), task.published());
        departing.published.insert(ordinal, published.clone());
        // Those that are gone are forgotten now and then.
        while departing.tasks.try_join_next().is_some() {}
        self.0.mesh.spawn_in(&mut departing.tasks, async move {
            task.stop(grace).await;
            mesh.board().update(&name, |status| forget(status, ordinal, &published));
        });
    }
}

/// Takes an instance that has ended off the board, unless another one has its ordinal by now.
fn forget(status: &mut PluginStatus, ordinal: u32, published: &Arc<AtomicBool>) {
    let has_ended = |state| state == InstanceState::Stopped;
    if published.load(Ordering::Acquire)
        && status.instances.get(&ordinal).is_some_and(|instance| has_ended(instance.state))
    {
        status.instances.remove(&ordinal);
    }
}

impl Departing {
    /// Another instance is to have this ordinal: the one that had it is not on the board any more.
    pub(super) fn take_ordinal(&mut self, ordinal: u32) {
        if let Some(published) = self.published.remove(&ordinal) {
            published.store(false, Ordering::Release);
        }
    }

    /// Takes all of them off the board.
    pub(super) fn unpublish(&mut self) {
        while let Some((_, published)) = self.published.pop_first() {
            published.store(false, Ordering::Release);
        }
    }

    /// Waits until all have ended, at most for `grace` and the time that their phases may take, then cuts them off.
    pub(super) async fn end(mut self, grace: Duration) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace + STOP_PHASES, all).await;
        self.tasks.shutdown().await;
    }
}
