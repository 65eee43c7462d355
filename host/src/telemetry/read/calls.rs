//! What is counted of calls, by method and by instance.

use std::borrow::Cow;
use std::time::Duration;

use tonic::Code;

use super::{INSTANCE, METHOD, OTHER, PLUGIN, rpc, text};
use crate::resilience::breaker::State;
use crate::route::stats::Event;
use crate::route::{Endpoint, Method, Route};
use crate::telemetry::catalogue::*;
use crate::telemetry::metrics::Metrics;

pub(super) fn read_method(metrics: &mut Metrics, method: &Method) {
    let name = match method.info() {
        Some(info) => text(format!("{}/{}", method.service(), info.name)),
        None => Cow::Borrowed(OTHER),
    };
    let plugin = text(method.route().plugin().as_str());
    let stats = method.stats();
    let mut called = false;
    for (code, latency) in stats.by_code() {
        called = true;
        let mut labels = rpc(name.clone(), code, code != Code::Ok);
        labels.push((PLUGIN, plugin.clone()));
        metrics.add(&CLIENT_DURATION, labels, latency.snapshot().into());
    }
    if !called {
        return;
    }
    let labels = vec![(PLUGIN, plugin), (METHOD, name)];
    for (event, meta) in [
        (Event::Hedge, HEDGES),
        (Event::OverBudget, OVER_BUDGET),
        (Event::RateLimited, RATE_LIMITED),
        (Event::Shed, SHED),
        (Event::Fallback, FALLBACKS),
        (Event::CacheHit, CACHE_HITS),
        (Event::CacheMiss, CACHE_MISSES),
    ] {
        metrics.count(&meta, &labels, stats.events(event));
    }
    for (event, kind) in [(Event::Retry, "retry"), (Event::TransparentRetry, "transparent")] {
        let mut labels = labels.clone();
        labels.push(("kind", Cow::Borrowed(kind)));
        metrics.count(&RETRIES, &labels, stats.events(event));
    }
}

pub(super) fn read_route(metrics: &mut Metrics, route: &Route) {
    let plugin = text(route.plugin().as_str());
    let labels = vec![(PLUGIN, plugin.clone())];
    let gauges = route.gauges();
    metrics.level(&BUDGET, &labels, gauges.budget);
    metrics.count(&WAITING, &labels, gauges.waiting);
    if let Some((queued, limit)) = gauges.limit {
        metrics.count(&QUEUED, &labels, queued);
        metrics.count(&LIMIT, &labels, limit);
    }
    for (endpoint, latency) in gauges.endpoints {
        read_endpoint(metrics, &plugin, &endpoint, latency);
    }
}

fn read_endpoint(metrics: &mut Metrics, plugin: &str, endpoint: &Endpoint, latency: Option<Duration>) {
    let labels = vec![(PLUGIN, text(plugin)), (INSTANCE, text(endpoint.name().as_str()))];
    metrics.count(&IN_FLIGHT, &labels, endpoint.in_flight());
    metrics.count(&ATTEMPTS, &labels, endpoint.calls());
    metrics.count(&FAILURES, &labels, endpoint.failures());
    metrics.count(&EJECTIONS, &labels, endpoint.ejections());
    if let Some(latency) = latency {
        metrics.level(&LATENCY, &labels, latency.as_secs_f64());
    }
    if let Some(state) = endpoint.breaker() {
        let state = match state {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open { until: _ } => 2,
        };
        metrics.count(&BREAKER_STATE, &labels, state);
    }
}
