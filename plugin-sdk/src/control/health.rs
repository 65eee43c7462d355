//! `grpc.health.v1` for the plugin (`""`) and for each of its services.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthRpc;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What health answers from. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    state: watch::Sender<State>,
    services: Arc<OnceLock<Vec<String>>>,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// Services that the plugin itself called unwell.
    unwell: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Serving,
    NotServing,
    /// Not serving, and no more changes to come: watches end.
    Ended,
}

impl Health {
    /// Names the services that there are; the first call counts.
    pub(crate) fn know(&self, services: Vec<String>) {
        let _ = self.services.set(services);
    }

    pub(crate) fn set(&self, service: &str, serving: bool) {
        let knows =
            |services: &Vec<String>| service.is_empty() || services.iter().any(|known| known == service);
        if self.services.get().is_some_and(|services| !knows(services)) {
            return;
        }
        self.state.send_if_modified(|state| {
            if serving { state.unwell.remove(service) } else { state.unwell.insert(service.into()) }
        });
    }

    /// Nothing serves from now on, until [`resume`](Self::resume).
    pub(crate) fn drain(&self) {
        self.stage(Stage::NotServing);
    }

    pub(crate) fn resume(&self) {
        self.stage(Stage::Serving);
    }

    /// Nothing serves any more; watches get that and end.
    pub(crate) fn end(&self) {
        self.stage(Stage::Ended);
    }

    fn stage(&self, next: Stage) {
        self.state.send_if_modified(|state| {
            let changes = state.stage != next && state.stage != Stage::Ended;
            if changes {
                state.stage = next;
            }
            changes
        });
    }

    fn status(&self, state: &State, service: &str) -> ServingStatus {
        let known = service.is_empty()
            || self.services.get().is_some_and(|services| services.iter().any(|known| known == service));
        match state.stage {
            _ if !known => ServingStatus::ServiceUnknown,
            Stage::Serving if !self.is_unwell(state, service) => ServingStatus::Serving,
            Stage::Serving | Stage::NotServing | Stage::Ended => ServingStatus::NotServing,
        }
    }

    /// The plugin as a whole is what hosts route by: it is unwell when it said so, and when all its services
    /// are.
    fn is_unwell(&self, state: &State, service: &str) -> bool {
        let services = self.services.get().map(Vec::as_slice).unwrap_or_default();
        let all = || !services.is_empty() && services.iter().all(|service| state.unwell.contains(service));
        state.unwell.contains("") || state.unwell.contains(service) || (service.is_empty() && all())
    }

    fn updates(&self, service: String) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + use<> {
        let watcher = (self.clone(), self.state.subscribe(), service, None);
        stream::unfold(watcher, |(health, mut changes, service, last)| async move {
            loop {
                let (status, ended) = {
                    let state = changes.borrow_and_update();
                    (health.status(&state, &service), state.stage == Stage::Ended)
                };
                if last != Some(status) {
                    let answer = HealthCheckResponse { status: status.into() };
                    return Some((Ok(answer), (health, changes, service, Some(status))));
                }
                if ended || changes.changed().await.is_err() {
                    return None;
                }
            }
        })
    }
}

#[tonic::async_trait]
impl HealthRpc for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match self.status(&self.state.borrow(), &service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!("no service {service:?} here"))),
            status => Ok(Response::new(HealthCheckResponse { status: status.into() })),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(Box::pin(self.updates(request.into_inner().service))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_watch_tells_changes_and_ends_with_the_plugin() {
        let health = Health::default();
        health.know(vec!["a.B".into(), "a.C".into()]);
        let mut updates = Box::pin(health.updates("a.B".into()));
        let mut next = async || updates.next().await.map(|answer| answer.unwrap().status());
        assert_eq!(next().await, Some(ServingStatus::Serving));
        health.set("a.C", false);
        health.set("a.B", false);
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        health.set("a.B", true);
        assert_eq!(next().await, Some(ServingStatus::Serving));
        health.end();
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        assert_eq!(next().await, None);
    }

    #[test]
    fn the_plugin_is_unwell_when_it_says_so_or_when_all_its_services_are() {
        let health = Health::default();
        health.know(vec!["a.B".into(), "a.C".into()]);
        let status = |service| health.status(&health.state.borrow(), service);
        health.set("a.B", false);
        assert_eq!(status(""), ServingStatus::Serving);
        health.set("a.C", false);
        assert_eq!(status(""), ServingStatus::NotServing);
        health.set("a.B", true);
        assert_eq!(status(""), ServingStatus::Serving);
        health.set("", false);
        assert_eq!(status(""), ServingStatus::NotServing);
        assert_eq!(status("a.B"), ServingStatus::NotServing);
    }

    #[tokio::test]
    async fn an_unknown_service_is_not_found_but_can_be_watched() {
        let health = Health::default();
        let request = || Request::new(HealthCheckRequest { service: "no.Such".into() });
        assert_eq!(health.check(request()).await.unwrap_err().code(), tonic::Code::NotFound);
        let mut updates = health.watch(request()).await.unwrap().into_inner();
        let answer = updates.next().await.unwrap().unwrap();
        assert_eq!(answer.status(), ServingStatus::ServiceUnknown);
    }
}
