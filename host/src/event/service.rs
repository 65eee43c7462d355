//! `EventBusService`: the bus for whoever calls the gateway.

mod connect;
mod convert;
mod publish;
mod replay;
mod subscribe;

use std::sync::Arc;

use plugmesh::event::v1 as pb;
use plugmesh::event::v1::event_bus_service_server::{EventBusService, EventBusServiceServer};
use tonic::codec::Streaming;
use tonic::{Request, Response, Status};

pub(crate) use self::connect::Connected;
use self::replay::Replay;
use self::subscribe::Subscribed;
use super::bus::Bus;
use super::journal::JournalError;
use super::open::Events;
use super::participant::Permissions;
use super::recorder::refusal;
use super::redrive::Redrive;
use super::subscription::Defaults;
use crate::gateway::Principal;

/// Dead letters of a page, unless somebody asks for another number, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// Dead letters that a call may name: what is said of each fits into the answer.
const MAX_NAMED: usize = 10_000;

/// The calls of the service but for `Connect`, whose frames are not decoded: see [`Connected`].
#[derive(Clone, Debug)]
pub(crate) struct Service {
    events: Events,
}

/// The whole service, for the gateway.
pub(crate) fn service(events: Events) -> Connected<EventBusServiceServer<Service>> {
    let most = events.bus().limits.frame_bytes;
    let service = Service { events };
    // A request is a frame, as far as its size goes.
    Connected::new(service.clone(), EventBusServiceServer::new(service).max_decoding_message_size(most))
}

/// Who takes part, and how.
struct Role {
    name: Arc<str>,
    permissions: Permissions,
    defaults: Defaults,
}

impl Service {
    fn bus(&self) -> &Arc<Bus> {
        self.events.bus()
    }

    /// The role of who calls. A plugin's instances are a group.
    fn role(&self, extensions: &http::Extensions) -> Role {
        let principal = Principal::of(extensions);
        let name = principal.map_or_else(|| "anonymous".to_owned(), ToString::to_string);
        let group = match principal {
            Some(Principal::Plugin { instance }) => Some(instance.plugin().to_string()),
            _ => None,
        };
        let permissions = group.as_deref().map(|group| self.events.permissions(group)).unwrap_or_default();
        let defaults = Defaults { group, ..self.events.defaults().clone() };
        Role { name: name.into(), permissions, defaults }
    }
}

#[tonic::async_trait]
impl EventBusService for Service {
    type ConnectStream = Streaming<pb::BusFrame>;
    type SubscribeStream = Subscribed;
    type ReplayStream = Replay;

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
        publish::publish(self.bus(), role, request.into_inner()).await.map(Response::new)
    }

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let role = self.role(request.extensions());
        Subscribed::new(self.bus(), role, request.into_inner()).map(Response::new)
    }

    async fn replay(
        &self,
        request: Request<pb::ReplayRequest>,
    ) -> Result<Response<Self::ReplayStream>, Status> {
        Replay::new(self.bus(), self.events.defaults(), request.into_inner()).await.map(Response::new)
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
        let page = self.bus().dead_letters.page(whose(&subscription), after, size).await;
        let page = page.map_err(|error| failed(&error))?;
        let next_page_token = match page.last() {
            Some(last) if page.has_more => last.to_string(),
            _ => String::new(),
        };
        let letters = page.letters.into_iter().map(convert::letter).collect();
        Ok(Response::new(pb::ListDeadLettersResponse { letters, next_page_token }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<pb::RedriveDeadLettersRequest>,
    ) -> Result<Response<pb::RedriveDeadLettersResponse>, Status> {
        let pb::RedriveDeadLettersRequest { ids, subscription } = request.into_inner();
        must_choose(&ids, &subscription)?;
        let redrive = match ids.is_empty() {
            true => self.bus().redrive_all(&subscription).await,
            false => self.bus().redrive(&ids, whose(&subscription)).await,
        };
        let Redrive { count, problems } = redrive.map_err(|error| failed(&error))?;
        Ok(Response::new(pb::RedriveDeadLettersResponse { count, problems }))
    }

    async fn purge_dead_letters(
        &self,
        request: Request<pb::PurgeDeadLettersRequest>,
    ) -> Result<Response<pb::PurgeDeadLettersResponse>, Status> {
        let pb::PurgeDeadLettersRequest { ids, subscription } = request.into_inner();
        must_choose(&ids, &subscription)?;
        let purged = self.bus().dead_letters.purge(whose(&subscription), &ids).await;
        let count = purged.map_err(|error| failed(&error))?;
        Ok(Response::new(pb::PurgeDeadLettersResponse { count }))
    }

    async fn delete_durable_name(
        &self,
        request: Request<pb::DeleteDurableNameRequest>,
    ) -> Result<Response<pb::DeleteDurableNameResponse>, Status> {
        let deleted = self.bus().delete(&request.into_inner().durable_name).await;
        deleted.map_err(|(code, message)| Status::new(code, message))?;
        Ok(Response::new(pb::DeleteDurableNameResponse {}))
    }

    async fn get_stats(
        &self,
        _: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        convert::stats(self.bus()).await.map(Response::new).map_err(|error| failed(&error))
    }
}

fn failed(error: &JournalError) -> Status {
    let (code, message) = refusal(error);
    Status::new(code, message)
}

/// A subscription's name; an empty one is all of them.
fn whose(subscription: &str) -> Option<&str> {
    (!subscription.is_empty()).then_some(subscription)
}

/// Nobody deletes or delivers everything by leaving out everything.
fn must_choose(ids: &[u64], subscription: &str) -> Result<(), Status> {
    if ids.is_empty() && subscription.is_empty() {
        return Err(Status::invalid_argument("say which: ids, or a subscription for all of its own"));
    }
    if ids.len() > MAX_NAMED {
        let message = format!("{} ids; a call names {MAX_NAMED} at most", ids.len());
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}
