//! `EventBusService`: the bus for whoever calls the gateway.

mod connect;
mod convert;
mod publish;
mod subscribe;

use std::sync::Arc;

use plugmesh::event::v1 as pb;
use plugmesh::event::v1::event_bus_service_server::{EventBusService, EventBusServiceServer};
use tonic::codec::Streaming;
use tonic::{Request, Response, Status};

pub(crate) use self::connect::Connected;
use self::subscribe::Subscribed;
use super::bus::Bus;
use super::participant::Permissions;
use super::stream::NO_JOURNAL;
use super::subscription::Defaults;
use crate::gateway::Principal;

/// Dead letters of a page, unless somebody asks for another number, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The calls of the service but for `Connect`, whose frames are not decoded: see [`Connected`].
#[derive(Clone, Debug)]
pub(crate) struct Service {
    bus: Arc<Bus>,
    defaults: Defaults,
}

/// The whole service, for the gateway.
pub(crate) fn service(bus: Arc<Bus>, defaults: Defaults) -> Connected<EventBusServiceServer<Service>> {
    let service = Service { bus, defaults };
    Connected::new(service.clone(), EventBusServiceServer::new(service))
}

/// Who takes part, and how.
struct Role {
    name: Arc<str>,
    permissions: Permissions,
    defaults: Defaults,
}

impl Service {
    /// The role of who calls. A plugin's instances are a group.
    fn role(&self, extensions: &http::Extensions) -> Role {
        let principal = Principal::of(extensions);
        let name = principal.map_or_else(|| "anonymous".to_owned(), ToString::to_string);
        let group = match principal {
            Some(Principal::Plugin { instance }) => Some(instance.plugin().to_string()),
            _ => None,
        };
        let defaults = Defaults { group, ..self.defaults.clone() };
        Role { name: name.into(), permissions: Permissions::default(), defaults }
    }
}

#[tonic::async_trait]
impl EventBusService for Service {
    type ConnectStream = Streaming<pb::BusFrame>;
    type SubscribeStream = Subscribed;
    type ReplayStream = tokio_stream::Empty<Result<pb::ReplayResponse, Status>>;

    async fn connect(
        &self,
        _: Request<Streaming<pb::ClientFrame>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        Err(Status::internal("Connect is answered before its frames are decoded"))
    }

    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        let role = self.role(request.extensions());
        publish::publish(&self.bus, role, request.into_inner()).await.map(Response::new)
    }

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let role = self.role(request.extensions());
        Subscribed::new(&self.bus, role, request.into_inner()).map(Response::new)
    }

    async fn replay(&self, _: Request<pb::ReplayRequest>) -> Result<Response<Self::ReplayStream>, Status> {
        Err(Status::failed_precondition(NO_JOURNAL))
    }

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Result<Response<pb::ListDeadLettersResponse>, Status> {
        let pb::ListDeadLettersRequest { subscription, page_size, page_token } = request.into_inner();
        let after = match page_token.as_str() {
            "" => 0,
            token => {
                token.parse().map_err(|_| Status::invalid_argument("page_token is not one of this host"))?
            }
        };
        let size = match page_size as usize {
            0 => PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut letters = self.bus.dead_letters.list(whose(&subscription), after, size + 1);
        let has_more = letters.len() > size;
        letters.truncate(size);
        let next_page_token = match letters.last() {
            Some(last) if has_more => last.id.to_string(),
            _ => String::new(),
        };
        let letters = letters.iter().map(convert::letter).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListDeadLettersResponse { letters, next_page_token }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<pb::RedriveDeadLettersRequest>,
    ) -> Result<Response<pb::RedriveDeadLettersResponse>, Status> {
        let pb::RedriveDeadLettersRequest { ids, subscription } = request.into_inner();
        must_choose(&ids, &subscription)?;
        let letters = self.bus.dead_letters.remove(whose(&subscription), &ids);
        let (count, problems) = self.bus.redrive(letters);
        Ok(Response::new(pb::RedriveDeadLettersResponse { count: count as u64, problems }))
    }

    async fn purge_dead_letters(
        &self,
        request: Request<pb::PurgeDeadLettersRequest>,
    ) -> Result<Response<pb::PurgeDeadLettersResponse>, Status> {
        let pb::PurgeDeadLettersRequest { ids, subscription } = request.into_inner();
        must_choose(&ids, &subscription)?;
        let gone = self.bus.dead_letters.remove(whose(&subscription), &ids);
        Ok(Response::new(pb::PurgeDeadLettersResponse { count: gone.len() as u64 }))
    }

    async fn get_stats(
        &self,
        _: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        Ok(Response::new(convert::stats(&self.bus)))
    }
}

/// A subscription's name; an empty one is all of them.
fn whose(subscription: &str) -> Option<&str> {
    (!subscription.is_empty()).then_some(subscription)
}

/// Nobody deletes or delivers everything by leaving out everything.
fn must_choose(ids: &[u64], subscription: &str) -> Result<(), Status> {
    match ids.is_empty() && subscription.is_empty() {
        true => Err(Status::invalid_argument("say which: ids, or a subscription for all of its own")),
        false => Ok(()),
    }
}
