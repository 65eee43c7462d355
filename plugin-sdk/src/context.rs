//! A running plugin's view of itself and of its host.

use std::sync::Arc;

use plugmesh::plugin::v1::{HostInfo, InstanceInfo, Limits};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::control::health::Health;
use crate::control::session::Sessions;
use crate::events::{Attachment, Events};
use crate::gateway::{Gateway, Link};
use crate::in_flight::InFlight;

/// A running plugin's view of itself and of its host. Cheap to clone; get one from
/// [`Plugin::context`](crate::Plugin::context) to put it into a service, or as an argument of
/// [`Lifecycle`](crate::Lifecycle) methods.
#[derive(Clone, Debug)]
pub struct Context(pub(crate) Arc<Shared>);

#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) sessions: Sessions,
    pub(crate) link: Arc<Link>,
    pub(crate) health: Health,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) stop: CancellationToken,
    /// The stream of events that the host has opened.
    pub(crate) attachment: Attachment,
    /// One that was opened from here.
    pub(crate) stream: Mutex<Option<Events>>,
}

impl Context {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// A client of a service of another plugin, or of the host: `context.client(TextServiceClient::new)`.
    ///
    /// Its calls go through the host's gateway as this plugin, and carry the deadline and the trace of the
    /// call that is being handled (see [`Call`](crate::Call)). It can be made before there is a host: it
    /// connects at the first call, again after a break, and follows a change of host. Without a gateway
    /// its calls fail with `UNAVAILABLE` and say what is missing.
    pub fn client<C>(&self, new: impl FnOnce(Gateway) -> C) -> C {
        new(self.gateway())
    }

    /// The channel beneath [`client`](Self::client), to choose one plugin or another call's deadline.
    pub fn gateway(&self) -> Gateway {
        Gateway::new(Arc::clone(&self.0.link))
    }

    /// The host of the current session; `None` before the first handshake.
    pub fn host(&self) -> Option<HostInfo> {
        self.0.sessions.read(|opened| opened.host.clone())
    }

    /// Which instance this process is; `None` before the first handshake.
    pub fn instance(&self) -> Option<InstanceInfo> {
        self.0.sessions.read(|opened| opened.instance.clone())
    }

    /// Bounds that the host enforces; `None` before the first handshake.
    pub fn limits(&self) -> Option<Limits> {
        self.0.sessions.read(|opened| opened.limits)
    }

    /// How many calls are in flight, streams that have not ended included.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.count()
    }

    /// Says whether one of this plugin's services, by its full name, can do its work now; `""` stands for the
    /// plugin as a whole. Health reports it, and hosts route around a plugin that is unwell as a whole, which
    /// it also is when all its services are. All services can when the plugin starts; other names have no
    /// effect.
    pub fn set_serving(&self, service: &str, serving: bool) {
        self.0.health.set(service, serving);
    }

    /// Ends the plugin as SIGTERM does: it drains, cleans up, and `serve` returns.
    pub fn shut_down(&self) {
        self.0.stop.cancel();
    }

    /// Returns when the plugin has begun to end: background work should, too.
    pub async fn stopping(&self) {
        self.0.stop.cancelled().await;
    }
}
