//! From a request to the service that answers it.

use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt;
use tower_service::Service;

use crate::Call;
use crate::in_flight::InFlight;

mod handle;

use handle::{Handling, ResponseBody};

/// What every tonic service answers a call with.
pub(crate) type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// A tonic service of any type.
pub(crate) struct Boxed(Box<dyn Erased>);

pub(crate) trait Erased: Send + Sync {
    // Not `call`: on a service that name would find this method before the service's own.
    fn answer(&self, request: Request<Body>) -> Answer;
}

/// All services of a plugin, by name. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Services(Arc<Table>);

struct Table {
    routes: Vec<Route>,
    in_flight: Arc<InFlight>,
}

/// A service under its full name.
pub(crate) struct Route {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) service: Boxed,
}

/// Whether calls of a service count as work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Contract, health, reflection: neither drained nor waited for.
    Control,
    Work,
}

impl Boxed {
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self(Box::new(service))
    }
}

impl Erased for Boxed {
    fn answer(&self, request: Request<Body>) -> Answer {
        self.0.answer(request)
    }
}

impl<S> Erased for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    fn answer(&self, request: Request<Body>) -> Answer {
        let mut service = self.clone();
        let mut context = Context::from_waker(std::task::Waker::noop());
        // Generated services are always ready; one under a limit waits its turn.
        match service.poll_ready(&mut context) {
            Poll::Ready(_) => boxed(service.call(request)),
            Poll::Pending => Box::pin(service.oneshot(request)),
        }
    }
}

/// Boxes `future`, unless it is a box already, as that of a generated service is.
fn boxed<F>(future: F) -> Answer
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let mut future = Some(future);
    if let Some(boxed) = (&mut future as &mut dyn Any).downcast_mut::<Option<Answer>>()
        && let Some(boxed) = boxed.take()
    {
        return boxed;
    }
    // Only the branch above takes it.
    match future {
        Some(future) => Box::pin(future),
        None => Box::pin(std::future::pending()),
    }
}

impl Services {
    pub(crate) fn new(routes: Vec<Route>, in_flight: Arc<InFlight>) -> Self {
        Self(Arc::new(Table { routes, in_flight }))
    }

    fn unknown(&self, service: &str) -> Status {
        let served: Vec<_> =
            self.0.routes.iter().filter(|route| route.kind == Kind::Work).map(|route| route.name).collect();
        Status::unimplemented(format!(
            "no service {service:?} here; this plugin serves: {}",
            served.join(", ")
        ))
    }
}

impl hyper::service::Service<Request<Incoming>> for Services {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Handling;

    fn call(&self, request: Request<Incoming>) -> Handling {
        let path = request.uri().path();
        let name =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or(path, |(name, _)| name);
        // A plugin has a handful of services: comparing them one by one is faster than hashing the name.
        let Some(route) = self.0.routes.iter().find(|route| route.name == name) else {
            return Handling::refused(self.unknown(name));
        };
        let call = Call::arrived(request.headers());
        let guard = (route.kind == Kind::Work).then(|| self.0.in_flight.enter());
        Handling::start(&route.service, request.map(Body::new), call, guard)
    }
}
