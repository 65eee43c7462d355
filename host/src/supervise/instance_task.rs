//! The task of one instance: bring it up, follow it, start over.
//!
//! - `runner`: the whole life: start, follow, pause, again. `start`: from nothing to an endpoint that may be picked.
//! - `follow`: while it is up. `wind_up`: from the last call to the end of the process.

mod follow;
mod runner;
mod start;
mod wind_up;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot, watch};

use self::runner::Runner;
use super::Mesh;
use super::failure::StartFailure;
use super::scale::Place;
use crate::config::{Endpoint as RemoteEndpoint, PluginConfig, ProcessConfig};
use crate::name::InstanceName;
use crate::route::Route;

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
    again: Arc<Notify>,
    task: tokio::task::AbortHandle,
}

impl InstanceTask {
    /// Starts the task. Each start waits for one of `starts`; `first` learns how the first one went. Without a `place`
    /// it always takes calls.
    #[allow(clippy::too_many_arguments, reason = "one caller, and a struct would only name them twice")]
    pub(super) fn spawn(
        mesh: &Mesh,
        config: Arc<PluginConfig>,
        route: Arc<Route>,
        ordinal: u32,
        origin: Origin,
        place: Option<Place>,
        starts: Arc<Semaphore>,
        first: oneshot::Sender<Result<(), StartFailure>>,
    ) -> Self {
        let name = InstanceName::new(config.name.clone(), ordinal);
        let (stop, stopping) = watch::channel(None);
        let (alive, ended) = watch::channel(false);
        let published = Arc::new(AtomicBool::new(true));
        let again = Arc::new(Notify::new());
        let mut runner = Runner {
            mesh: mesh.clone(),
            config,
            route,
            name,
            origin,
            stopping,
            published: published.clone(),
            starts,
            again: again.clone(),
            restarts: 0,
            place,
        };
        let task = mesh.spawn(async move {
            runner.run(first).await;
            alive.send_replace(true);
        });
        Self { stop, ended, published, again, task }
    }

    /// Whether it is on the board.
    pub(super) fn published(&self) -> Arc<AtomicBool> {
        self.published.clone()
    }

    /// Takes the instance off the board: another one of its name is on it now.
    pub(super) fn unpublish(&self) {
        self.published.store(false, Ordering::Release);
    }

    /// Puts it back.
    pub(super) fn publish(&self) {
        self.published.store(true, Ordering::Release);
    }

    /// Starts the instance now if it waits to be started again, with a fresh budget of restarts.
    pub(super) fn start_over(&self) {
        self.again.notify_waiters();
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
