//! `Publish`: a few events at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use plugmesh::event::frame::EventsMessage;
use plugmesh::event::v1::{Ack, EventResult, Publish, PublishRequest, PublishResponse};
use prost::Message;
use tokio::time::timeout;
use tonic::Status;

use super::super::bus::Bus;
use super::super::publish::{Publisher, Publishing};
use super::super::stream::{NO_JOURNAL, add_given_up};
use super::Role;

/// How long it may wait for room, as on a stream.
const WAIT: Duration = Duration::from_secs(5);

pub(super) async fn publish(
    bus: &Arc<Bus>,
    role: Role,
    request: PublishRequest,
) -> Result<PublishResponse, Status> {
    let ack = Ack::try_from(request.ack).unwrap_or_default();
    if ack == Ack::Durable {
        return Err(Status::failed_precondition(NO_JOURNAL));
    }
    let count = request.events.len();
    let message = Publish { events: request.events, ..Publish::default() }.encode_to_vec().into();
    let mut spans = Vec::new();
    Publish::read(&message, bus.limits.frame_events, &mut spans)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut publishing = Publishing::new(message, spans, ack == Ack::Handled);
    let mut publisher = Publisher::new(bus.clone(), role.permissions.publish, None);
    let published = timeout(WAIT, poll_fn(|cx| publisher.poll_publish(&mut publishing, cx))).await;
    if published.is_err() {
        publishing.time_out();
    }
    if let Some(awaited) = publishing.awaited.take() {
        awaited.published();
        let given_up = poll_fn(|cx| awaited.poll(cx)).await;
        add_given_up(&mut publishing.results, given_up);
    }
    let mut results: Vec<_> =
        (0..count as u32).map(|index| EventResult { index, ..EventResult::default() }).collect();
    for result in publishing.results {
        let index = result.index as usize;
        if let Some(place) = results.get_mut(index) {
            *place = result;
        }
    }
    Ok(PublishResponse { results })
}
