//! `Subscribe`: events as they come, for whoever only wants to look.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use plugmesh::event::v1::bus_frame::Frame;
use plugmesh::event::v1::subscription::Members;
use plugmesh::event::v1::{
    BusFrame, Credit, Overflow, Subscribe, SubscribeRequest, SubscribeResponse, Subscription,
};
use prost::Message;
use tokio_stream::Stream;
use tonic::Status;

use super::super::bus::Bus;
use super::super::participant::{Participant, Until};
use super::Role;

/// A participant that is not asked for anything. What it does not read is dropped.
#[derive(Debug)]
pub(crate) struct Subscribed {
    participant: Arc<Participant>,
    waiting: VecDeque<SubscribeResponse>,
    gap: u64,
}

impl Subscribed {
    pub(super) fn new(bus: &Arc<Bus>, role: Role, request: SubscribeRequest) -> Result<Self, Status> {
        let participant =
            Participant::new(bus.clone(), role.name, role.permissions, role.defaults, Until::HostEnds);
        let what = Subscription {
            patterns: request.patterns,
            filters: request.filters,
            members: Some(Members::Broadcast(true)),
            overflow: Overflow::DropOldest as i32,
            ..Subscription::default()
        };
        let credit = Credit { subscription: 1, events: u64::MAX, bytes: u64::MAX };
        participant
            .try_subscribe(Subscribe { subscription: 1, what: Some(what), credit: Some(credit) })
            .map_err(|(code, message)| Status::new(code, message))?;
        Ok(Self { participant, waiting: VecDeque::new(), gap: 0 })
    }

    fn take(&mut self, frame: Option<Frame>) {
        match frame {
            Some(Frame::Gap(gap)) => self.gap += gap.dropped,
            Some(Frame::Delivery(delivery)) => {
                for event in delivery.events {
                    let gap = std::mem::take(&mut self.gap);
                    self.waiting.push_back(SubscribeResponse { event: Some(event), gap });
                }
            }
            _ => {}
        }
    }
}

impl Stream for Subscribed {
    type Item = Result<SubscribeResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(next)));
            }
            let Ok(message) = ready!(self.participant.poll_message(cx)) else {
                return Poll::Ready(Some(Err(Status::unavailable("the host is shutting down"))));
            };
            // Behind the prefix of gRPC, which is not needed here.
            match BusFrame::decode(message.slice(5..)) {
                Ok(frame) => self.take(frame.frame),
                Err(error) => return Poll::Ready(Some(Err(Status::internal(error.to_string())))),
            }
        }
    }
}
