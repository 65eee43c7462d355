//! A gateway that answers, and how it stops.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tower_service::Service;

use super::accept::{Entrance, accept};
use super::health::{Health, HealthSource};
use super::limits::Limits;
use super::listen::{Address, Bound};
use super::meter::ServerCalls;
use super::pages::{Pages, Shelf};
use super::principal::Callers;
use super::reflection::{Catalog, Reflection};
use super::request_body::RequestBody;

/// Where calls go that the gateway does not answer itself.
///
/// Implemented for every [`tower_service::Service`] that takes a [`RequestBody`] and answers with a body of
/// bytes, both failing with a [`Status`]. In the request's extensions are the [`Principal`](super::Principal)
/// and, when the caller chose one, the [`Target`](super::Target). Each call gets a clone. A call that is given
/// up by its client or runs out of time is dropped, future or body.
pub trait Upstream: Clone + Send + 'static {
    /// The body of a response.
    type Body: Body<Data = Bytes, Error = Status> + Send;
    /// A call until its response's head.
    type Future: Future<Output = Result<Response<Self::Body>, Status>> + Send;

    /// As [`Service::poll_ready`].
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>>;

    /// As [`Service::call`].
    fn call(&mut self, request: Request<RequestBody>) -> Self::Future;
}

impl<S, B> Upstream for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Status> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error = Status> + Send,
{
    type Body = B;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Service::poll_ready(self, cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        Service::call(self, request)
    }
}

/// What the gateway answers itself, and whom it asks to do so.
pub struct Services {
    /// Services of the host, of which only `plugmesh.admin.v1.AdminService` is reachable. `None`: it is
    /// answered with `UNIMPLEMENTED`.
    pub admin: Option<Routes>,
    /// What reflection tells.
    pub catalog: Catalog,
    /// What health tells.
    pub health: Arc<dyn HealthSource>,
    /// Who may call back.
    pub callers: Arc<dyn Callers>,
    /// What those get who speak plain HTTP.
    pub pages: Arc<dyn Pages>,
    /// Where calls are counted.
    pub(crate) calls: Arc<ServerCalls>,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) admin: Vec<String>,
    pub(super) callers: Arc<dyn Callers>,
    pub(super) local: Routes,
    pub(super) shelf: Shelf,
    pub(super) calls: Arc<ServerCalls>,
}

/// A gateway at work. Dropping it closes the listeners and every connection at once.
#[derive(Debug)]
pub struct GatewayHandle {
    /// Each accept loop owns the connections it accepted, and returns how many it cut off.
    loops: JoinSet<usize>,
    stop: CancellationToken,
    abort: CancellationToken,
    addresses: Vec<Address>,
}

/// How a gateway stopped. No task of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Stopped {
    /// Connections that were cut off because their calls outlasted the deadline.
    pub cut_off: usize,
}

impl Bound {
    /// Answers on every socket, on the current tokio runtime.
    pub fn serve<U: Upstream>(self, upstream: U, services: Services) -> GatewayHandle {
        let addresses = self.addresses().to_vec();
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let reflection = Reflection::new(services.catalog.clone(), stop.clone());
        let health = Health::new(services.health, services.catalog, stop.clone());
        let local = services.admin.unwrap_or_default();
        let local = local
            .add_service(health.into_service())
            .add_service(reflection.clone().into_v1())
            .add_service(reflection.into_v1alpha())
            .prepare();
        let room = Arc::new(Semaphore::new(self.limits.max_connections.min(Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared {
            limits: self.limits,
            admin: self.admin,
            callers: services.callers,
            local,
            shelf: Shelf::new(services.pages),
            calls: services.calls,
        });
        let mut loops = JoinSet::new();
        for socket in self.sockets {
            let entrance = Entrance {
                shared: shared.clone(),
                upstream: upstream.clone(),
                room: room.clone(),
                stop: stop.clone(),
                abort: abort.clone(),
            };
            loops.spawn(accept(socket, entrance));
        }
        GatewayHandle { loops, stop, abort, addresses }
    }
}

impl GatewayHandle {
    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Accepts no more connections, asks clients to leave, waits for their calls, and at the deadline cuts off
    /// what is left. When it returns, every task of the gateway has ended. Streams of health and reflection
    /// end at once.
    ///
    /// Dropping the future cuts everything off.
    pub async fn shutdown(mut self, deadline: Duration) -> Stopped {
        self.stop.cancel();
        let mut cut_off = 0;
        let finished = timeout(deadline, join(&mut self.loops, &mut cut_off)).await;
        if finished.is_err() {
            self.abort.cancel();
            join(&mut self.loops, &mut cut_off).await;
        }
        Stopped { cut_off }
    }
}

async fn join(loops: &mut JoinSet<usize>, cut_off: &mut usize) {
    while let Some(joined) = loops.join_next().await {
        match joined {
            Ok(count) => *cut_off += count,
            Err(error) => tracing::error!(%error, "an accept loop failed"),
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}
