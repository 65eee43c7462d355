//! `Replay`: what the journal holds.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use plugmesh::cloudevents::EventRef;
use plugmesh::cloudevents::v1::CloudEvent;
use plugmesh::event::v1 as pb;
use prost::Message;
use tokio_stream::Stream;
use tonic::Status;

use super::super::NO_JOURNAL;
use super::super::bus::Bus;
use super::super::durable::Durable;
use super::super::feeder::place;
use super::super::journal::{JournalError, Read};
use super::super::progress::Start;
use super::super::run::events;
use super::super::subscription::{Defaults, Spec, start};
use super::failed;

/// Events that are read at once, and their bytes.
const EVENTS: u32 = 1024;
const BYTES: usize = 256 << 10;

/// What the journal held when it was asked, as it is read.
pub(crate) struct Replay {
    durable: Arc<Durable>,
    spec: Spec,
    /// What was read and not sent.
    waiting: VecDeque<pb::ReplayResponse>,
    after: u64,
    last: u64,
    /// Events that may still be sent.
    left: u64,
    reading: Option<BoxFuture<'static, Result<Read, JournalError>>>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("after", &self.after).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Replay {
    pub(super) async fn new(
        bus: &Arc<Bus>,
        defaults: &Defaults,
        request: pb::ReplayRequest,
    ) -> Result<Self, Status> {
        let durable = bus.durable().ok_or_else(|| Status::failed_precondition(NO_JOURNAL))?;
        let pb::ReplayRequest { patterns, filters, start: from, limit } = request;
        let what = pb::Subscription { patterns, filters, ..pb::Subscription::default() };
        let spec =
            Spec::read(&what, defaults).map_err(|error| Status::new(error.code(), error.to_string()))?;
        let is_kept = |topic| durable.patterns().iter().any(|kept| kept.overlaps(topic));
        if !spec.patterns.iter().any(is_kept) {
            let key = durable.key();
            return Err(Status::failed_precondition(format!(
                "the journal keeps none of these topics: they are within none of `{key}`"
            )));
        }
        let from = match from {
            None => Start::Beginning,
            Some(from) => start(Some(&from)).map_err(|error| Status::new(error.code(), error.to_string()))?,
        };
        durable.log.refresh().await.map_err(|error| failed(&error))?;
        let after = place(durable, from).await.map_err(|error| failed(&error))?;
        Ok(Self {
            durable: durable.clone(),
            spec,
            waiting: VecDeque::new(),
            after: after.ok_or_else(|| Status::not_found("the journal holds no event with that id"))?,
            last: durable.log.last_place(),
            left: if limit == 0 { u64::MAX } else { limit },
            reading: None,
        })
    }

    /// Keeps what is wanted of what was read.
    fn take(&mut self, read: Read) {
        for stored in read.stored {
            for (place, event) in (stored.first_place..).zip(events(&stored.bytes)) {
                let Ok(view) = EventRef::check(&stored.bytes[event.clone()]) else { continue };
                let is_wanted = place <= self.last && self.spec.wants(view);
                if is_wanted && let Ok(event) = CloudEvent::decode(stored.bytes.slice(event)) {
                    let recorded = Some(stored.recorded.into());
                    self.waiting.push_back(pb::ReplayResponse { place, recorded, event: Some(event) });
                }
            }
        }
        self.after = read.through.max(self.after + 1);
    }
}

impl Stream for Replay {
    type Item = Result<pb::ReplayResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            if let Some(next) = self.waiting.pop_front() {
                self.left -= 1;
                return Poll::Ready(Some(Ok(next)));
            }
            if self.after >= self.last {
                return Poll::Ready(None);
            }
            let (log, after) = (self.durable.log.clone(), self.after);
            let reading = self
                .reading
                .get_or_insert_with(|| Box::pin(async move { log.read(after, EVENTS, BYTES).await }));
            let read = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match read {
                Ok(read) => self.take(read),
                Err(error) => {
                    self.left = 0;
                    return Poll::Ready(Some(Err(failed(&error))));
                }
            }
        }
    }
}
