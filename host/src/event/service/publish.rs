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
use super::super::publish::{Done, Publisher, Publishing};
use super::Role;

/// How long it may wait for room, as on a stream.
const WAIT: Duration = Duration::from_secs(5);

pub(super) async fn publish(
    bus: &Arc<Bus>,
    role: Role,
    request: PublishRequest,
) -> Result<PublishResponse, Status> {
    let ack = Ack::try_from(request.ack).unwrap_or_default();
    let count = request.events.len();
    let message = Publish { events: request.events, ..Publish::default() }.encode_to_vec().into();
    let mut spans = Vec::new();
    Publish::read(&message, bus.limits.frame_events, &mut spans)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut publishing = Publishing::new(message, spans, ack, 0);
    let mut publisher = Publisher::new(bus.clone(), role.permissions.publish, None);
    let published = timeout(WAIT, poll_fn(|cx| publisher.poll_publish(&mut publishing, cx))).await;
    if published.is_err() {
        publishing.time_out();
    }
    let Done { awaited, results: mut said } = publishing.done();
    if let Some(awaited) = awaited {
        awaited.published();
        poll_fn(|cx| publisher.completions.poll(cx)).await;
        said.append(&mut awaited.take_results());
    }
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
