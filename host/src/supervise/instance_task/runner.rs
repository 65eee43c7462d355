//! The whole life of an instance, and how the board shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plugmesh::admin::v1::{InstanceKind, InstanceState};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::Origin;
use super::follow::End;
use super::start::Running;
use crate::config::PluginConfig;
use crate::name::InstanceName;
use crate::route::Route;
use crate::supervise::Mesh;
use crate::supervise::backoff::{Backoff, Retry};
use crate::supervise::board::{Incarnation, InstanceStatus};
use crate::supervise::failure::{StartError, StartFailure};
use crate::supervise::scale::{Place, Role};

/// What an instance lives from.
pub(super) struct Runner {
    pub(super) mesh: Mesh,
    pub(super) config: Arc<PluginConfig>,
    pub(super) route: Arc<Route>,
    pub(super) name: InstanceName,
    pub(super) origin: Origin,
    pub(super) stopping: watch::Receiver<Option<Duration>>,
    pub(super) published: Arc<AtomicBool>,
    pub(super) starts: Arc<Semaphore>,
    /// Ends a pause at once.
    pub(super) again: Arc<Notify>,
    pub(super) restarts: u32,
    /// `None`: it always takes calls.
    pub(super) place: Option<Place>,
}

impl Runner {
    pub(super) async fn run(&mut self, first: oneshot::Sender<Result<(), StartFailure>>) {
        let mut first = Some(first);
        let mut backoff = Backoff::new(self.route.policy().restart);
        loop {
            // What comes of the first start is told by whoever waits for it.
            let mut is_told = false;
            let (why, ready_for) = match self.start_or_stop().await {
                Ok(running) => {
                    if let Some(first) = first.take() {
                        let _ = first.send(Ok(()));
                    }
                    match self.follow(running).await {
                        (End::Stopped(_), _) => break,
                        (End::Died(why), ready_for) => (why, ready_for),
                    }
                }
                Err(failure) if matches!(failure.error(), StartError::Stopped) => break,
                Err(failure) => {
                    self.route.is_not_waking();
                    let why = failure.to_string();
                    is_told = first.take().is_some_and(|first| first.send(Err(failure)).is_ok());
                    (why, Duration::ZERO)
                }
            };
            self.set_up(false);
            let Retry { pause, crash_loop } = backoff.next(Instant::now(), ready_for);
            let state = if crash_loop { InstanceState::CrashLoop } else { InstanceState::Backoff };
            if !is_told {
                let what = if crash_loop { "is in a crash loop and " } else { "" };
                let pause = humantime::format_duration(Duration::from_millis(pause.as_millis() as u64));
                tracing::warn!(plugin = %self.name.plugin(), instance = %self.name, "{what}starts again in {pause}: {why}");
            }
            self.report(state, &why, None);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.again.notified() => backoff = Backoff::new(self.route.policy().restart),
                _ = stop_order(&mut self.stopping) => break,
            }
            self.restarts += 1;
        }
        self.report(InstanceState::Stopped, "", None);
    }

    async fn start_or_stop(&mut self) -> Result<Running, StartFailure> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            _ = stop_order(&mut stopping) => Err(StartError::Stopped.into()),
            // Boxed, here and in `follow`: an instance spends its life waiting, and what the steps around that
            // need is not kept with it meanwhile.
            result = Box::pin(self.start_in_turn()) => result,
        }
    }

    async fn start_in_turn(&self) -> Result<Running, StartFailure> {
        // Never closed.
        let _turn = self.starts.acquire().await;
        // A process beside those of all plugins; a remote instance costs nobody here.
        let _turn_of_all = match self.origin {
            Origin::Process(_) => Some(self.mesh.starts().acquire().await),
            Origin::Remote(_) => None,
        };
        self.start().await
    }

    /// What the instance is for now.
    pub(super) fn role(&self) -> Role {
        self.place.as_ref().map_or(Role::Serving, Place::role)
    }

    /// Says whether the instance could take calls.
    pub(super) fn set_up(&self, up: bool) {
        if let Some(place) = &self.place {
            place.set_up(up);
        }
    }

    pub(super) fn report(&self, state: InstanceState, message: &str, incarnation: Option<Incarnation>) {
        let kind = match self.origin {
            Origin::Process(_) => InstanceKind::Process,
            Origin::Remote(_) => InstanceKind::Remote,
        };
        let (message, restarts) = (message.to_owned(), self.restarts);
        if self.published.load(Ordering::Acquire) {
            let name = self.name.clone();
            self.mesh.board().update(self.name.plugin(), |status| {
                let now = InstanceStatus { name, kind, state, message, incarnation, restarts };
                status.instances.insert(now.name.ordinal(), now);
            });
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut InstanceStatus)) {
        if self.published.load(Ordering::Acquire) {
            self.mesh.board().update(self.name.plugin(), |status| {
                if let Some(status) = status.instances.get_mut(&self.name.ordinal()) {
                    change(status);
                }
            });
        }
    }
}

/// Waits for the order to stop, and gives the grace.
pub(super) async fn stop_order(stopping: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match stopping.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        // The owner is gone without a word: at once.
        Err(_) => Duration::ZERO,
    }
}
