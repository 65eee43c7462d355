//! Waiting for an endpoint that takes a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::errand::Errand;
use super::plugin_route::{Picked, Readiness};
use super::stats::Event;
use super::unpicked::Unpicked;
use super::{Endpoint, Route, RouteError};
use crate::resilience::clock::Moment;
use crate::resilience::limiter::Permit;

/// Calls that wait for an endpoint of one plugin (linkerd's queue). Each costs a few hundred bytes beside its request.
pub(super) const MAX_WAITING: usize = 10_000;

/// Calls that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(AtomicUsize);

/// One of them.
struct Place<'a>(&'a Waiting);

impl Waiting {
    fn enter(&self) -> Option<Place<'_>> {
        let place = Place(self);
        (self.0.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B> Errand<B> {
    /// Picks an endpoint that is not among those `tried`, if there is another.
    pub(super) fn pick(&self, tried: &[Arc<Endpoint>], now: Moment) -> Result<Picked, Unpicked> {
        self.method.route().pick(&self.method, self.pinned.as_deref(), self.hash, tried, now)
    }

    /// Picks when there is something to pick: an endpoint gets ready, or a connection is open again. Waits no longer than until the
    /// deadline, and not at all when nothing has been ready for long. `why` there is nothing now.
    pub(super) async fn pick_later(
        &self,
        tried: &[Arc<Endpoint>],
        mut why: Unpicked,
    ) -> Result<Picked, RouteError> {
        let route = self.method.route();
        let _place = route.waiting().enter().ok_or_else(|| RouteError::too_many_waiting(route.plugin()))?;
        let mut reconnects = 0;
        loop {
            match why {
                Unpicked::Refused(error) => return Err(error),
                Unpicked::Full => return Err(RouteError::full(route.plugin())),
                Unpicked::NotReady(error) => self.until_ready(error).await?,
                Unpicked::NotConnected(endpoint) if reconnects < MAX_RECONNECTS => {
                    reconnects += 1;
                    let connected = endpoint.lane().reconnect();
                    match self.deadline {
                        None => drop(connected.await),
                        Some(deadline) => drop(
                            timeout_at(deadline, connected)
                                .await
                                .map_err(|_| RouteError::not_connected(&endpoint).at_the_deadline())?,
                        ),
                    }
                }
                Unpicked::NotConnected(endpoint) => return Err(RouteError::not_connected(&endpoint)),
            }
            match self.pick(tried, route.now()) {
                Ok(picked) => return Ok(picked),
                Err(again) => why = again,
            }
        }
    }

    /// Waits for a place among the calls that may be in flight; `None` when any number may.
    pub(super) async fn acquire(&self) -> Result<Option<Permit>, RouteError> {
        let route = self.method.route();
        let Some(limit) = route.limit() else { return Ok(None) };
        limit.limiter().acquire(self.deadline).await.map(Some).map_err(|shed| {
            self.method.stats().count(Event::Shed);
            let queue_timeout = route.policy().concurrency.queue_timeout;
            RouteError::shed(route.plugin(), limit.limiter(), shed, queue_timeout)
        })
    }

    async fn until_ready(&self, error: RouteError) -> Result<(), RouteError> {
        let route = self.method.route();
        let mut readiness = route.readiness();
        let now = *readiness.borrow_and_update();
        let since = match now {
            Readiness::Ready => return Ok(()),
            Readiness::Waking => return self.until_awake(readiness, error).await,
            Readiness::NotReady(since) => since,
        };
        let fails_at = since + route.policy().connection.ready_timeout;
        if route.now() >= fails_at {
            return Err(error);
        }
        let fails_at = route.clock().instant(fails_at).unwrap_or_else(Instant::now);
        let until = self.deadline.map_or(fails_at, |deadline| deadline.min(fails_at));
        let ready = readiness.wait_for(|readiness| *readiness == Readiness::Ready);
        match timeout_at(until, ready).await {
            // The sender is in the route.
            Ok(_) => Ok(()),
            Err(_) if self.deadline.is_some_and(|deadline| deadline <= fails_at) => {
                Err(error.at_the_deadline())
            }
            // What it is now, which may be something else than before.
            Err(_) => Err(route.why_not_ready().unwrap_or(error)),
        }
    }
}

impl<B> Errand<B> {
    /// Waits for an endpoint that is started for this call, or one like it.
    async fn until_awake(
        &self,
        mut readiness: watch::Receiver<Readiness>,
        error: RouteError,
    ) -> Result<(), RouteError> {
        let awake = readiness.wait_for(|readiness| *readiness != Readiness::Waking);
        match self.deadline {
            None => drop(awake.await),
            Some(deadline) => drop(timeout_at(deadline, awake).await.map_err(|_| error.at_the_deadline())?),
        }
        Ok(())
    }
}

/// Connections that a call waits for: one that is open and gone again at once says enough.
const MAX_RECONNECTS: u32 = 1;

impl Route {
    fn why_not_ready(&self) -> Option<RouteError> {
        match self.nothing(&self.snapshot()) {
            Unpicked::NotReady(error) => Some(error),
            _ => None,
        }
    }
}
