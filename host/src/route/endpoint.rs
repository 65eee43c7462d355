//! An instance as the balancer sees it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use semver::Version;
use tokio::sync::Notify;
use tonic::Status;

use super::body::CallBody;
use super::call::{Call, LiveBody};
use super::outcome::Outcome;
use super::{DEFAULT_MAX_MESSAGE, RouteError};
use crate::config::Policy;
use crate::name::{InstanceId, InstanceName};
use crate::resilience::breaker::{
    Breaker, BreakerSettings, ConsecutiveRule, Probe, RateRule, State, Transition, Verdict,
};
use crate::resilience::clock::Moment;
use crate::resilience::peak_ewma::PeakEwma;
use crate::transport::Lane;

/// What a failure counts as in the latency of an endpoint (linkerd's load biaser): one that fails fast must not look fast.
const FAILURE_LATENCY: Duration = Duration::from_secs(5);

/// Longest time that an endpoint may ask for by its pushback.
const MAX_PUSHBACK: Duration = Duration::from_secs(300);

/// How long a failure counts for the rule on failures in a row.
const FAILURE_EXPIRY: Duration = Duration::from_secs(10);

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
    version: OnceLock<Version>,
    availability: Mutex<Availability>,
    ready_since: OnceLock<Moment>,
    in_flight: AtomicU64,
    calls: AtomicU64,
    failures: AtomicU64,
    ejections: AtomicU64,
    latency: PeakEwma,
    /// `None`: it is trusted whatever it does.
    breaker: Option<Arc<Breaker>>,
    idle: Notify,
}

impl Endpoint {
    /// An endpoint that is [`Availability::Starting`].
    pub(super) fn new(
        name: InstanceName,
        id: InstanceId,
        epoch: u64,
        lane: Lane,
        policy: &Policy,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            id,
            epoch,
            lane,
            version: OnceLock::new(),
            availability: Mutex::new(Availability::Starting),
            ready_since: OnceLock::new(),
            in_flight: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            latency: PeakEwma::new(policy.balance.ewma_decay),
            breaker: breaker_settings(policy).map(Breaker::new),
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

    /// Version of the plugin that it runs, once that is known.
    pub fn version(&self) -> Option<&Version> {
        self.version.get()
    }

    /// Says which version of the plugin it runs, before the route gets it. Only the first word counts.
    pub fn set_version(&self, version: Version) {
        let _ = self.version.set(version);
    }

    /// Whether it may be picked.
    pub fn availability(&self) -> Availability {
        self.availability.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores without telling the route: see [`super::Route::set_availability`].
    pub(super) fn store_availability(&self, availability: Availability, now: Moment) {
        if availability == Availability::Ready {
            let _ = self.ready_since.set(now);
        }
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

    /// Times that its breaker opened after it was closed.
    pub(crate) fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    pub(super) fn count_ejection(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
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

    /// When it became ready for the first time.
    pub(super) fn ready_since(&self) -> Option<Moment> {
        self.ready_since.get().copied()
    }

    /// State of its breaker; `None` without one.
    pub(crate) fn breaker(&self) -> Option<State> {
        Some(self.breaker.as_ref()?.state())
    }

    /// Whether it may be picked as far as its breaker is concerned.
    pub(super) fn is_trusted(&self) -> bool {
        self.breaker.as_ref().is_none_or(|breaker| breaker.is_closed())
    }

    pub(super) fn next_probe_at(&self) -> Option<Moment> {
        self.breaker.as_ref()?.next_probe_at()
    }

    /// The right to send it one call although its breaker is open, when that is due.
    pub(super) fn try_probe(&self, now: Moment) -> Option<Probe> {
        self.breaker.as_ref()?.try_probe(now)
    }

    /// Its latency, with the weight that time has left to it; `None` before the first answer.
    pub(crate) fn latency(&self, now: Moment) -> Option<Duration> {
        self.latency.value(now)
    }

    /// What a call to it is expected to cost, for [`crate::config::Balance::PeakEwma`].
    pub(super) fn cost(&self, now: Moment) -> f64 {
        let pending = u32::try_from(self.in_flight()).unwrap_or(u32::MAX);
        self.latency.cost(pending, now)
    }

    /// Counts a call that begins.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note that a call was answered, or given up, after `took`.
    pub(super) fn answered(&self, verdict: Verdict, pushback: Option<Duration>, took: Duration, now: Moment) {
        match verdict {
            Verdict::Success => self.latency.record(took, now),
            Verdict::Failure | Verdict::Overload => {
                let penalty = pushback.map_or(FAILURE_LATENCY, |pushback| pushback.min(MAX_PUSHBACK));
                self.latency.record(took.max(penalty), now);
            }
            // It would have taken at least as long.
            Verdict::Neutral if self.latency.value(now).is_some_and(|latency| took > latency) => {
                self.latency.record(took, now);
            }
            Verdict::Neutral => {}
        }
    }

    /// Takes note of the end of a call, and says what that did to the breaker.
    pub(super) fn end(&self, verdict: Verdict, probe: Option<Probe>, now: Moment) -> Option<Transition> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if verdict == Verdict::Failure {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        // Paired with the load in `drained`: whoever sees 0 there sees every call's end.
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
        self.breaker.as_ref()?.record(verdict, probe, now)
    }
}

fn breaker_settings(policy: &Policy) -> Option<BreakerSettings> {
    let said = &policy.circuit_breaker;
    said.enabled.then(|| BreakerSettings {
        consecutive: (said.failure_threshold > 0)
            .then_some(ConsecutiveRule { failure_threshold: said.failure_threshold, expiry: FAILURE_EXPIRY }),
        rate: (said.success_rate > 0.0).then_some(RateRule {
            success_rate: said.success_rate,
            min_requests: said.min_request_threshold,
        }),
        success_threshold: said.success_threshold,
        open_initial: said.recovery_timeout,
        open_max: said.max_recovery_timeout,
        ..BreakerSettings::default()
    })
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
            let body = LiveBody::new(
                &head.headers,
                Outcome::of(&head.headers),
                body,
                Call::uncounted(endpoint),
                max_message,
                None,
                None,
            );
            Ok(Response::from_parts(head, body.into()))
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
                Endpoint::new(name, InstanceId::random(), 1, lane.clone(), &Policy::default())
            })
            .collect()
    }

    #[tokio::test]
    async fn is_drained_when_the_last_call_ends() {
        let endpoint = endpoints(1).remove(0);
        endpoint.begin();
        endpoint.begin();
        let waiting = tokio::spawn({
            let endpoint = endpoint.clone();
            async move { endpoint.drained().await }
        });
        endpoint.end(Verdict::Neutral, None, Moment::default());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        endpoint.end(Verdict::Neutral, None, Moment::default());
        waiting.await.unwrap();
        assert_eq!((endpoint.in_flight(), endpoint.calls(), endpoint.failures()), (0, 2, 0));
    }

    #[test]
    fn failing_fast_does_not_look_fast() {
        let [quick, failing] = <[_; 2]>::try_from(endpoints(2)).unwrap();
        let now = Moment::from_nanos(1_000_000_000);
        let millis = Duration::from_millis;
        quick.answered(Verdict::Success, None, millis(20), now);
        failing.answered(Verdict::Failure, None, millis(1), now);
        assert!(failing.cost(now) > 100.0 * quick.cost(now));
        assert_eq!(failing.latency(now), Some(FAILURE_LATENCY));
        failing.answered(Verdict::Overload, Some(Duration::from_secs(1000)), millis(1), now);
        let latency = failing.latency(now).unwrap();
        assert!(latency > MAX_PUSHBACK.mul_f64(0.999) && latency <= MAX_PUSHBACK, "{latency:?}");
        quick.answered(Verdict::Neutral, None, millis(10), now);
        assert_eq!(quick.latency(now), Some(millis(20)), "a short wait says nothing");
        quick.answered(Verdict::Neutral, None, millis(30), now);
        assert_eq!(quick.latency(now), Some(millis(30)), "a long one does");
    }
}
