//! Picking an endpoint for a call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Route;
use crate::resilience::breaker::Probe;
use crate::resilience::clock::Moment;
use crate::route::balance::Ask;
use crate::route::call::Call;
use crate::route::snapshot::{Mode, Snapshot};
use crate::route::unpicked::Unpicked;
use crate::route::{Availability, Endpoint, Method, RouteError};
use crate::transport::Slot;

/// Where one call goes.
#[derive(Debug)]
pub(in crate::route) struct Picked {
    /// The way there.
    pub(in crate::route) slot: Slot,
    /// The call, counted from now on.
    pub(in crate::route) call: Call,
}

impl Route {
    /// Picks an endpoint for one call, and a way to send it there. `pinned` is the name or the id of the
    /// instance that the caller insists on; `hash` is that of the value by which the method is balanced; endpoints in `tried` are
    /// taken only when there is no other.
    pub(in crate::route) fn pick(
        &self,
        method: &Arc<Method>,
        pinned: Option<&str>,
        hash: Option<u64>,
        tried: &[Arc<Endpoint>],
        now: Moment,
    ) -> Result<Picked, Unpicked> {
        let snapshot = self.snapshot.load();
        if let Some(pinned) = pinned {
            let endpoint = self.pinned(&snapshot, pinned)?;
            let slot = endpoint.lane().slot().ok_or_else(|| Unpicked::not_connected(endpoint))?;
            return Ok(Picked { slot, call: Call::counted(endpoint.clone(), method.clone(), None, now) });
        }
        if now >= snapshot.next_probe
            && let Some(picked) = self.probe(&snapshot, method, tried, now)
        {
            return Ok(picked);
        }
        let mut ask = self.ask(hash, tried, now);
        let mut endpoint = method.balancer().choose(&snapshot.choice, &ask);
        if endpoint.is_none() && !tried.is_empty() {
            ask.tried = &[];
            endpoint = method.balancer().choose(&snapshot.choice, &ask);
        }
        let endpoint = endpoint.ok_or_else(|| self.nothing(&snapshot))?;
        let picked = |endpoint: &Arc<Endpoint>, slot| Picked {
            slot,
            call: Call::counted(endpoint.clone(), method.clone(), None, now),
        };
        if let Some(slot) = endpoint.lane().slot() {
            return Ok(picked(endpoint, slot));
        }
        // Its connection is gone and its owner has not noticed yet: nothing was sent, so any other will do.
        let others = snapshot.choice.endpoints().iter().filter(|other| ask.accepts(other));
        let other = others.filter_map(|other| Some((other, other.lane().slot()?))).next();
        let (other, slot) = other.ok_or_else(|| Unpicked::not_connected(endpoint))?;
        Ok(picked(other, slot))
    }

    /// An endpoint that is not among those `tried`, and a way to send a call there; `None` when there is no other. The call
    /// is not counted yet.
    pub(in crate::route) fn find_other(
        &self,
        method: &Method,
        hash: Option<u64>,
        tried: &[Arc<Endpoint>],
        now: Moment,
    ) -> Option<(Arc<Endpoint>, Slot)> {
        let snapshot = self.snapshot.load();
        let endpoint = method.balancer().choose(&snapshot.choice, &self.ask(hash, tried, now))?;
        Some((endpoint.clone(), endpoint.lane().slot()?))
    }

    fn ask<'a>(&self, hash: Option<u64>, tried: &'a [Arc<Endpoint>], now: Moment) -> Ask<'a> {
        let limit = self.policy.concurrency.max_in_flight_per_instance.map_or(u64::MAX, u64::from);
        let in_flight = self.in_flight.as_ref().map_or(0, |count| count.load(Ordering::Relaxed));
        Ask { now, hash, tried, limit, in_flight }
    }

    /// Sends the call to an endpoint that had its rest, to see whether it does better.
    fn probe(
        &self,
        snapshot: &Snapshot,
        method: &Arc<Method>,
        tried: &[Arc<Endpoint>],
        now: Moment,
    ) -> Option<Picked> {
        let untried = |endpoint: &&Arc<Endpoint>| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint));
        let probe = |endpoint: &Arc<Endpoint>| {
            let slot = endpoint.lane().slot()?;
            let probe: Probe = endpoint.try_probe(now)?;
            Some((endpoint.clone(), slot, probe))
        };
        let (endpoint, slot, probe) = snapshot.resting.iter().filter(untried).find_map(probe)?;
        // The next probe is due later.
        self.change(|_| {});
        Some(Picked { slot, call: Call::counted(endpoint, method.clone(), Some(probe), now) })
    }

    fn pinned<'a>(&self, snapshot: &'a Snapshot, pinned: &str) -> Result<&'a Arc<Endpoint>, Unpicked> {
        let named = |endpoint: &&Arc<Endpoint>| {
            endpoint.name().as_str() == pinned || endpoint.id().as_str() == pinned
        };
        // Draining instances still answer those who insist on them; the ready one of a name comes first.
        let is_ready = |endpoint: &&Arc<Endpoint>| endpoint.availability() == Availability::Ready;
        let found =
            snapshot.all.iter().filter(named).find(is_ready).or_else(|| snapshot.all.iter().find(named));
        match found.map(|endpoint| (endpoint, endpoint.availability())) {
            Some((endpoint, Availability::Ready | Availability::Draining)) => Ok(endpoint),
            Some((endpoint, availability)) => Err(RouteError::pinned(endpoint, &availability).into()),
            None => Err(RouteError::no_instance(&self.plugin, pinned).into()),
        }
    }

    pub(in crate::route) fn nothing(&self, snapshot: &Snapshot) -> Unpicked {
        if !snapshot.is_ready
            && let Some(wake) = &*self.wake.load()
        {
            (wake.0)();
        }
        match snapshot.mode {
            _ if !snapshot.is_ready => Unpicked::NotReady(self.nothing_ready(snapshot)),
            Mode::FailClosed => RouteError::all_resting(&self.plugin).into(),
            Mode::Normal | Mode::FailOpen if snapshot.choice.endpoints().is_empty() => {
                RouteError::no_weight(&self.plugin).into()
            }
            Mode::Normal | Mode::FailOpen => Unpicked::Full,
        }
    }

    fn nothing_ready(&self, snapshot: &Snapshot) -> RouteError {
        let states = snapshot.all.iter().map(|e| format!("{} is {}", e.name(), e.availability())).collect();
        RouteError::nothing_ready(&self.plugin, states)
    }
}
