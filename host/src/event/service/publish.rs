//! `Publish`: a few events at once.

use std::sync::Arc;

use plugmesh::event::v1::{Ack, EventResult, Publish, PublishRequest, PublishResponse};
use prost::Message;
use tonic::Status;

use super::super::bus::Bus;
use super::super::publish::Publisher;
use super::super::stream::DEFAULT_WAIT;
use super::Role;

pub(super) async fn publish(
    bus: &Arc<Bus>,
    role: Role,
    request: PublishRequest,
) -> Result<PublishResponse, Status> {
    let ack = Ack::try_from(request.ack).unwrap_or_default();
    let count = request.events.len();
    let message = Publish { events: request.events, ..Publish::default() }.encode_to_vec().into();
    let mut publisher = Publisher::new(bus.clone(), role.permissions.publish, None);
    let said = publisher.publish_message(message, ack, DEFAULT_WAIT).await;
    let said = said.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut results: Vec<_> =
        (0..count as u32).map(|index| EventResult { index, ..EventResult::default() }).collect();
    for result in said {
        let index = result.index as usize;
        if let Some(place) = results.get_mut(index) {
            *place = result;
        }
    }
    Ok(PublishResponse { results })
}
