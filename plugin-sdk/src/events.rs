//! Events: publish them, and subscribe to those of others.
//!
//! [`Events`] is a stream to the bus of a host. Events are published one at a time and travel in batches: whatever has come together
//! when the connection takes more is one frame, so that a lone event does not wait and many cost little each.
//!
//! In a plugin, [`Plugin::on`](crate::Plugin::on) says what is done with events, and [`Context::events`](crate::Context::events)
//! publishes some.

mod bus;
mod declare;
mod error;
mod handler;
mod incoming;
mod link;
mod publish;
mod sink;
mod subscriber;
mod work;

use std::sync::Arc;

use plugmesh::event::Messages;
use plugmesh::event::stream::{self, CONNECT};
use plugmesh::event::v1::Hello;
use plugmesh::event::v1::client_frame::Frame;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};

pub use bus::EventBus;
pub use error::EventError;
pub use handler::{Handler, Received, Reject, RetryAfter};
pub use plugmesh::cloudevents::{Attribute, Data, DataError, Event, EventBuilder};
pub use plugmesh::event::v1::{Ack, Filter, Mode, Overflow, Redelivery, Start, Subscription};
pub use publish::{Outcome, Publishable};
pub use subscriber::{Delivered, Subscriber};

pub(crate) use declare::declaration;
use incoming::Incoming;
use link::{Link, Outgoing};
pub(crate) use sink::{Attachment, Sink};

/// Largest frame that is taken from a host, in bytes: an event as large as any is allowed to be, and then some.
const MAX_FRAME: usize = 16 << 20;

/// A stream to the bus of a host. Clones share it; it ends when the last of them and of its [`Subscriber`]s is dropped, and what was
/// published by then and not sent is lost: see [`flush`](Self::flush).
#[derive(Clone, Debug)]
pub struct Events(Arc<Stream>);

#[derive(Debug)]
struct Stream {
    link: Arc<Link>,
    _incoming: AbortOnDropHandle<()>,
}

impl Drop for Stream {
    /// Otherwise the request would stay open, and with it the stream, for as long as the connection: the bus would take what was
    /// delivered for being handled.
    fn drop(&mut self) {
        self.link.end(tonic::Status::cancelled("it was dropped"));
    }
}

impl Events {
    /// Opens a stream to the bus of the host that `channel` reaches: a tonic channel to its gateway, or
    /// [`Context::gateway`](crate::Context::gateway) in a plugin. `name` is for people.
    ///
    /// # Errors
    /// The host cannot be reached, or has no bus.
    pub async fn connect<S>(mut channel: S, name: &str) -> Result<Self, EventError>
    where
        S: GrpcService<Body>,
        S::Error: Into<StdError>,
        S::ResponseBody: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        <S::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
    {
        let link = Link::new();
        link.send(Frame::Hello(Hello { name: name.to_owned() }));
        let request = stream::request(CONNECT, Body::new(Outgoing::new(link.clone())));
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.map_err(EventError::unreachable)?;
        let response = channel.call(request).await.map_err(EventError::unreachable)?;
        if let Some(status) = tonic::Status::from_header_map(response.headers()) {
            return Err(EventError::Refused(status));
        }
        let messages = Messages::new(response.into_body(), MAX_FRAME);
        let incoming = tokio::spawn(Incoming::new(link.clone(), messages).run());
        let events = Self(Arc::new(Stream { link, _incoming: AbortOnDropHandle::new(incoming) }));
        events.0.link.welcomed().await?;
        Ok(events)
    }

    /// The stream that a host has opened.
    fn attached(link: &Arc<Link>, incoming: tokio::task::JoinHandle<()>) -> Self {
        Self(Arc::new(Stream { link: link.clone(), _incoming: AbortOnDropHandle::new(incoming) }))
    }

    fn link(&self) -> &Link {
        &self.0.link
    }
}
