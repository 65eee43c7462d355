//! An instance as the balancer sees it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::Notify;
use tonic::Status;

use super::call::{Call, CallBody, Outcome};
use super::{DEFAULT_MAX_MESSAGE, RouteError};
use crate::name::{InstanceId, InstanceName};
use crate::transport::Lane;

/// Whether an endpoint may be picked, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Not ready yet.
    Starting,
    /// May be picked.
    Ready,
    /// Runs, but should not be picked; the text says why.
    Unhealthy(Arc<str>),
    /// Finishes what is in flight.
    Draining,
    /// Ended.
    Gone,
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Ready => f.write_str("ready"),
            Self::Unhealthy(why) => write!(f, "unhealthy: {why}"),
            Self::Draining => f.write_str("draining"),
            Self::Gone => f.write_str("gone"),
        }
    }
}

/// One incarnation of an instance as the balancer sees it.
#[derive(Debug)]
pub struct Endpoint {
    name: InstanceName,
    id: InstanceId,
    epoch: u64,
    lane: Lane,
    availability: Mutex<Availability>,
    in_flight: AtomicU64,
    calls: AtomicU64,
    failures: AtomicU64,
    idle: Notify,
}

impl Endpoint {
    /// An endpoint that is [`Availability::Starting`].
    pub fn new(name: InstanceName, id: InstanceId, epoch: u64, lane: Lane) -> Arc<Self> {
        Arc::new(Self {
            name,
            id,
            epoch,
            lane,
            availability: Mutex::new(Availability::Starting),
            in_flight: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            idle: Notify::new(),
        })
    }

    /// `<plugin>-<ordinal>`.
    pub fn name(&self) -> &InstanceName {
        &self.name
    }

    /// Id of this incarnation.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Rises with each incarnation.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What calls to it are sent through.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Whether it may be picked.
    pub fn availability(&self) -> Availability {
        self.availability.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores without telling the route: see [`super::Route::set_availability`].
    pub(super) fn store_availability(&self, availability: Availability) {
        *self.availability.lock().unwrap_or_else(PoisonError::into_inner) = availability;
    }

    /// Calls that have not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Calls that have ended, whatever the outcome.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls among them that failed for a reason of the instance or the connection.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Waits until nothing is in flight.
    pub async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// A service that calls this endpoint and no other: for handshake, phases and health.
    pub fn channel(self: &Arc<Self>) -> EndpointChannel {
        self.channel_with_limit(DEFAULT_MAX_MESSAGE)
    }

    /// As [`Self::channel`], refusing answers with a message of more than `max_message` bytes.
    pub fn channel_with_limit(self: &Arc<Self>, max_message: u64) -> EndpointChannel {
        EndpointChannel { endpoint: self.clone(), max_message }
    }

    /// Counts a call that begins.
    pub(super) fn begin(self: &Arc<Self>) -> Call {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Call::counted(self.clone())
    }

    pub(super) fn end(&self, outcome: Outcome) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        // Paired with the load in `drained`: whoever sees 0 there sees every call's end.
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }
}

/// Calls one endpoint, without balancing or counting.
#[derive(Clone, Debug)]
pub struct EndpointChannel {
    endpoint: Arc<Endpoint>,
    max_message: u64,
}

impl tower_service::Service<Request<tonic::body::Body>> for EndpointChannel {
    type Response = Response<CallBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let Self { endpoint, max_message } = self.clone();
        Box::pin(async move {
            let slot = endpoint.lane.slot().ok_or_else(|| RouteError::not_connected(&endpoint))?;
            let response = slot.send(request).await.map_err(|error| RouteError::call(&endpoint, error))?;
            let (head, body) = response.into_parts();
            let call = Call::uncounted(endpoint);
            let body = CallBody::new(&head.headers, body, call, max_message, None);
            Ok(Response::from_parts(head, body))
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::route) fn endpoints(count: u32) -> Vec<Arc<Endpoint>> {
        let lane = Lane::InProcess(Arc::default());
        (0..count)
            .map(|ordinal| {
                let name = InstanceName::new("test".parse().unwrap(), ordinal);
                Endpoint::new(name, InstanceId::random(), 1, lane.clone())
            })
            .collect()
    }

    #[tokio::test]
    async fn is_drained_when_the_last_call_ends() {
        let endpoint = endpoints(1).remove(0);
        let (one, two) = (endpoint.begin(), endpoint.begin());
        let waiting = tokio::spawn({
            let endpoint = endpoint.clone();
            async move { endpoint.drained().await }
        });
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(two);
        waiting.await.unwrap();
        assert_eq!((endpoint.in_flight(), endpoint.calls(), endpoint.failures()), (0, 2, 0));
    }
}
