//! Reads what the bus sends.

use std::future::poll_fn;
use std::sync::Arc;

use plugmesh::event::Messages;
use plugmesh::event::frame::{self, bus_frame};
use plugmesh::event::v1::bus_frame::Frame;
use plugmesh::event::v1::{Credit, Unsubscribed, Welcome};
use tonic::codegen::{Body, Bytes, StdError};
use tonic::{Code, Status};

use super::EventError;
use super::link::Link;

/// The frames of the bus.
pub(super) struct Incoming<B> {
    link: Arc<Link>,
    messages: Messages<B>,
}

impl<B> Incoming<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    pub(super) fn new(link: Arc<Link>, messages: Messages<B>) -> Self {
        Self { link, messages }
    }

    /// Reads until the stream ends, and tells everybody who waits.
    pub(super) async fn run(mut self) {
        let ended = loop {
            match poll_fn(|cx| self.messages.poll_next(cx)).await {
                Ok(Some(message)) => {
                    if let Err(status) = self.take(message) {
                        break status;
                    }
                }
                Ok(None) => {
                    let told = self.messages.trailers().and_then(Status::from_header_map);
                    break told
                        .filter(|status| status.code() != Code::Ok)
                        .unwrap_or_else(|| Status::unavailable("the host has ended it"));
                }
                Err(status) => break status,
            }
        };
        self.link.end(ended);
    }

    fn take(&self, message: Bytes) -> Result<(), Status> {
        let frame = bus_frame(message).map_err(|error| Status::internal(error.to_string()))?;
        match frame {
            frame::Incoming::Events(delivery) => self.deliver(&delivery)?,
            frame::Incoming::Other(Some(frame)) => self.control(frame),
            // Of a later version.
            frame::Incoming::Other(None) => {}
        }
        Ok(())
    }

    fn deliver(&self, delivery: &Bytes) -> Result<(), Status> {
        let (head, spans) = super::subscriber::read(delivery)?;
        let inbox = self.link.state().inboxes.get(&head.subscription).cloned();
        // Events of a subscription that has just been ended are late.
        if let Some(inbox) = inbox {
            inbox.deliver(delivery.clone(), &head, spans);
        }
        Ok(())
    }

    fn control(&self, frame: Frame) {
        let inbox = |number: u64| self.link.state().inboxes.get(&number).cloned();
        match frame {
            Frame::Welcome(Welcome { epoch, credit, .. }) => {
                let Credit { events, bytes, .. } = credit.unwrap_or_default();
                self.link.welcome(epoch, events, bytes);
            }
            Frame::Published(published) => self.link.published(published.sequence, published.results),
            Frame::Credit(credit) => self.link.grant(credit.events, credit.bytes),
            Frame::Subscribed(subscribed) => {
                inbox(subscribed.subscription).into_iter().for_each(|inbox| inbox.is_in_force());
            }
            Frame::Unsubscribed(Unsubscribed { subscription, code, message }) => {
                let inbox = self.link.state().inboxes.remove(&subscription);
                let status = Status::new(Code::from_i32(code), message);
                inbox.into_iter().for_each(|inbox| inbox.end(EventError::Refused(status.clone())));
            }
            Frame::Gap(gap) => {
                inbox(gap.subscription).into_iter().for_each(|inbox| inbox.dropped(gap.dropped));
            }
            Frame::Problem(problem) => {
                tracing::warn!(code = problem.code, message = %problem.message, "the event bus has a problem with this plugin");
            }
            Frame::Draining(_) => tracing::info!("the event bus is about to end this stream"),
            Frame::Delivery(_) => {}
        }
    }
}
