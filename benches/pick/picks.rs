//! Calls as fast as they go, each to an endpoint that is chosen for it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use plugmesh_benches::BoxError;
use plugmesh_benches::args::Span;
use plugmesh_benches::cell::Metric;
use plugmesh_benches::histogram::Histogram;
use plugmesh_host::config::{Balance, BalancingSaid, Policies, PolicySaid, SetBy};
use plugmesh_host::name::{InstanceId, InstanceName, PluginName};
use plugmesh_host::route::{Availability, Endpoint, Route, RouteSettings, Router};
use plugmesh_host::transport::{InProcess, Lane};
use serde::{Deserialize, Serialize};
use tonic::body::Body;
use tower::Service;

use crate::changes::Changes;

/// Calls between two looks at the clock: a look takes as long as a choice.
const BATCH: u32 = 16;

/// Every policy there is.
pub(crate) const POLICIES: [Balance; 6] = [
    Balance::RoundRobin,
    Balance::Random,
    Balance::WeightedRandom,
    Balance::LeastRequest,
    Balance::PeakEwma,
    Balance::ConsistentHash,
];

/// Metadata that decides, where the policy wants some.
const HEADER: &str = "x-key";

/// Different values of it.
const KEYS: u32 = 10_000;

const METHOD: &str = "/plugmesh.bench.v1.Nothing/Do";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) policy: String,
    pub(crate) endpoints: u32,
    /// Whether endpoints come and go meanwhile.
    pub(crate) changing: bool,
    pub(crate) span: Span,
}

/// Measures, and prints the figures.
pub(crate) fn run(spec: &Spec) -> Result<(), BoxError> {
    let plugin: PluginName = "pick".parse()?;
    let policy =
        POLICIES.into_iter().find(|policy| policy.to_string() == spec.policy).ok_or("no such policy")?;
    let header = (policy == Balance::ConsistentHash).then_some(HEADER);
    let balance = BalancingSaid {
        policy: Some(policy),
        hash_header: Some(header.map(str::to_owned)),
        ..BalancingSaid::default()
    };
    let policies = Policies::default().with(SetBy::Plugin, PolicySaid { balance, ..PolicySaid::default() });
    let route = Route::new(plugin, RouteSettings { policies, ..RouteSettings::default() });
    for ordinal in 0..spec.endpoints {
        add(&route, ordinal);
    }
    let router = Router::new();
    router.insert(route.clone(), ["plugmesh.bench.v1.Nothing".to_owned()]);
    let changes = spec.changing.then(|| Changes::start(route.clone())).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(calls(&router, header, spec.span))?;
    if let Some(changes) = changes {
        changes.stop()?;
    }
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// One more endpoint that may be picked.
pub(crate) fn add(route: &Route, ordinal: u32) -> Arc<Endpoint> {
    let lane = Lane::InProcess(Arc::new(InProcess::default().with(Nothing)));
    let name = InstanceName::new(route.plugin().clone(), ordinal);
    let endpoint = route.endpoint(name, InstanceId::random(), 1, lane);
    route.insert(endpoint.clone());
    route.set_availability(&endpoint, Availability::Ready);
    endpoint
}

async fn calls(
    router: &Router,
    header: Option<&'static str>,
    span: Span,
) -> Result<[(Metric, f64); 2], BoxError> {
    let mut channel = router.channel();
    let mut batches = Histogram::default();
    let (start, mut measured, mut count) = (Instant::now(), Duration::ZERO, 0u32);
    while measured < span.measured {
        let since = Instant::now();
        for _ in 0..BATCH {
            let mut request = Request::post(METHOD).body(Body::empty())?;
            if let Some(header) = header {
                let value = fastrand::u32(..KEYS);
                request.headers_mut().insert(header, HeaderValue::from(value));
            }
            channel.call(request).await?;
        }
        if start.elapsed() > span.warm_up {
            let took = since.elapsed();
            batches.record(took.as_nanos() as u64);
            measured += took;
            count += BATCH;
        }
    }
    let mean = measured.as_nanos() as f64 / f64::from(count);
    Ok([(Metric::Pick, mean), (Metric::Stall, batches.quantile(0.999) / 1e3)])
}

/// Answers at once, with nothing.
#[derive(Clone, Copy, Debug)]
struct Nothing;

impl tonic::server::NamedService for Nothing {
    const NAME: &'static str = "plugmesh.bench.v1.Nothing";
}

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}
