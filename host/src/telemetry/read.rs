//! Reads everything that is counted.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plugmesh::admin::v1::{InstanceState, PluginState};
use tonic::Code;

use super::catalogue::*;
use super::metrics::{Labels, Metrics, Value};
use crate::code::{code_name, is_server_error};
use crate::gateway::ServerCalls;
use crate::resilience::breaker::State;
use crate::route::{Endpoint, Method, Route, Router, stats::Event};
use crate::supervise::{Board, InstanceStatus, PluginStatus};

/// Stands for every method that nobody has described: what callers make up must not make series.
const OTHER: &str = "_OTHER";

const METHOD: &str = "rpc.method";
const PLUGIN: &str = "plugmesh.plugin";
const INSTANCE: &str = "plugmesh.instance";
const STATE: &str = "state";

/// Where the numbers are. Clones read the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    started: SystemTime,
    board: Board,
    router: Router,
    gateway: Arc<ServerCalls>,
    /// Those of a router that forgets them soon.
    last_routes: Option<Arc<Vec<(Arc<Route>, Vec<Arc<Method>>)>>>,
}

impl Source {
    pub(crate) fn new(started: SystemTime, board: Board, router: Router, gateway: Arc<ServerCalls>) -> Self {
        Self { started, board, router, gateway, last_routes: None }
    }

    /// The same, which goes on to read the methods and instances that there are now: what is counted while a host shuts
    /// down is not lost with its plugins.
    pub(crate) fn of_last_routes(&self) -> Self {
        Self { last_routes: Some(Arc::new(self.router.routes())), ..self.clone() }
    }

    /// Everything as it is now.
    pub(crate) fn read(&self) -> Metrics {
        let mut metrics = Metrics::new(self.started);
        let routes = self.last_routes.clone().unwrap_or_else(|| Arc::new(self.router.routes()));
        for (route, methods) in routes.iter() {
            read_route(&mut metrics, route);
            methods.iter().for_each(|method| read_method(&mut metrics, method));
        }
        for status in self.board.snapshot().values() {
            read_plugin(&mut metrics, status);
        }
        self.gateway.read(|method, code, latency| {
            let method = Cow::Owned(method.unwrap_or(OTHER).to_owned());
            let labels = rpc(method, code, is_server_error(code));
            metrics.add(&SERVER_DURATION, labels, latency.snapshot().into());
        });
        metrics.count(&CONNECTIONS, &Labels::new(), self.gateway.connections());
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        metrics.level(&START_TIME, &Labels::new(), started.as_secs_f64());
        metrics
    }
}

fn text(value: impl Into<String>) -> Cow<'static, str> {
    Cow::Owned(value.into())
}

/// What every histogram of calls has.
fn rpc(method: Cow<'static, str>, code: Code, is_error: bool) -> Labels {
    let code = Cow::Borrowed(code_name(code));
    let mut labels = vec![
        ("rpc.system.name", Cow::Borrowed("grpc")),
        (METHOD, method),
        ("rpc.response.status_code", code.clone()),
    ];
    if is_error {
        labels.push(("error.type", code));
    }
    labels
}

fn read_method(metrics: &mut Metrics, method: &Method) {
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

fn read_route(metrics: &mut Metrics, route: &Route) {
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

fn read_endpoint(
    metrics: &mut Metrics,
    plugin: &Cow<'static, str>,
    endpoint: &Endpoint,
    latency: Option<Duration>,
) {
    let labels = vec![(PLUGIN, plugin.clone()), (INSTANCE, text(endpoint.name().as_str()))];
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

fn read_plugin(metrics: &mut Metrics, status: &PluginStatus) {
    let plugin = text(status.config.name.as_str());
    let states = enumerate(PluginState::try_from, |state| state.as_str_name());
    for (one, name) in states {
        let labels = vec![(PLUGIN, plugin.clone()), (STATE, lower(name, "PLUGIN_STATE_"))];
        metrics.count(&PLUGIN_STATE, &labels, u64::from(one == status.state()));
    }
    status.instances.values().for_each(|instance| read_instance(metrics, &plugin, instance));
}

fn read_instance(metrics: &mut Metrics, plugin: &Cow<'static, str>, instance: &InstanceStatus) {
    let labels = vec![(PLUGIN, plugin.clone()), (INSTANCE, text(instance.name.as_str()))];
    metrics.add(&RESTARTS, labels.clone(), Value::Count(instance.restarts.into()));
    for (one, name) in enumerate(InstanceState::try_from, |state| state.as_str_name()) {
        let mut labels = labels.clone();
        labels.push((STATE, lower(name, "INSTANCE_STATE_")));
        metrics.count(&INSTANCE_STATE, &labels, u64::from(one == instance.state));
    }
}

/// The states of the contract with their names, but for the one that says nothing: what it gains is shown, too.
fn enumerate<S: Copy, E>(
    state: impl Fn(i32) -> Result<S, E>,
    name: impl Fn(&S) -> &'static str,
) -> impl Iterator<Item = (S, &'static str)> {
    (1..).map_while(move |number| state(number).ok()).map(move |state| (state, name(&state)))
}

fn lower(name: &str, prefix: &str) -> Cow<'static, str> {
    Cow::Owned(name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase())
}
