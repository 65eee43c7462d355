//! A call that stays in the process.

use std::time::Instant;

use plugmesh_benches::BoxError;
use plugmesh_benches::args::Span;
use plugmesh_benches::cell::{Metric, Sample};
use plugmesh_benches::echo::EchoRequest;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::echo::echo_service_server::EchoServiceServer;
use plugmesh_benches::stats::Spread;
use plugmesh_host::config::PolicySaid;
use plugmesh_host::route::Channel;
use serde::{Deserialize, Serialize};
use tonic::client::GrpcService;
use tonic::codegen::{Body, Bytes, StdError};

use crate::mesh::Mesh;
use crate::server::Echo;

/// Calls between two looks at the clock: a millisecond or so.
const BATCH: u32 = 256;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// Calls of a generated client on its own generated server.
    Bare,
    /// Calls through the mesh, as it is by default.
    Mesh,
    /// What such a call costs more than one through a mesh without retries and breakers.
    Resilience,
}

impl What {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Mesh => "mesh",
            Self::Resilience => "resilience",
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) what: What,
    pub(crate) payload: usize,
    pub(crate) span: Span,
}

/// Calls, one after the other.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    let micros = match spec.what {
        What::Bare => {
            let mut client = EchoServiceClient::new(EchoServiceServer::new(Echo));
            steadily(async || batch(&mut client, spec).await, spec.span).await?
        }
        What::Mesh => {
            let mesh = Mesh::in_process(PolicySaid::default()).await?;
            let mut client = EchoServiceClient::new(mesh.channel());
            let micros = steadily(async || batch(&mut client, spec).await, spec.span).await;
            mesh.close().await;
            micros?
        }
        What::Resilience => {
            let mut off = PolicySaid::default();
            (off.retry.enabled, off.circuit_breaker.enabled) = (Some(false), Some(false));
            let (with, without) =
                (Mesh::in_process(PolicySaid::default()).await?, Mesh::in_process(off).await?);
            let mut clients = [with.channel(), without.channel()].map(EchoServiceClient::new);
            let micros = by_turns(&mut clients, spec).await;
            with.close().await;
            without.close().await;
            micros?
        }
    };
    Ok(Sample::from([(Metric::Call, micros)]))
}

/// Microseconds of a call, on average over batches that follow each other.
async fn steadily(
    mut batch: impl AsyncFnMut() -> Result<f64, BoxError>,
    span: Span,
) -> Result<f64, BoxError> {
    let start = Instant::now();
    while start.elapsed() < span.warm_up {
        batch().await?;
    }
    let (mut sum, mut batches, start) = (0.0, 0u32, Instant::now());
    while batches == 0 || start.elapsed() < span.measured {
        sum += batch().await?;
        batches += 1;
    }
    Ok(sum / f64::from(batches))
}

/// Microseconds that a call of the first client takes more than one of the second: the median over batches that take turns, since
/// what else the machine does lasts longer than a batch, and is the same for both.
async fn by_turns(clients: &mut [EchoServiceClient<Channel>; 2], spec: Spec) -> Result<f64, BoxError> {
    let (mut differences, start) = (Vec::new(), Instant::now());
    let until = spec.span.warm_up + spec.span.measured;
    while differences.is_empty() || start.elapsed() < until {
        let [first, second] = &mut *clients;
        // Each goes first as often as the other.
        let difference = match differences.len() % 2 {
            0 => batch(first, spec).await? - batch(second, spec).await?,
            _ => -(batch(second, spec).await? - batch(first, spec).await?),
        };
        differences.push(difference);
    }
    let median = Spread::of(differences).map(|spread| spread.median);
    median.ok_or_else(|| "no batch".into())
}

/// Microseconds of a call, on average over a batch.
async fn batch<T>(client: &mut EchoServiceClient<T>, spec: Spec) -> Result<f64, BoxError>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let payload = vec![7; spec.payload];
    let start = Instant::now();
    for _ in 0..BATCH {
        let answer = client.echo(EchoRequest { payload: payload.clone() }).await?;
        if answer.into_inner().payload != payload {
            return Err("the answer is not what was sent".into());
        }
    }
    Ok(start.elapsed().as_nanos() as f64 / 1e3 / f64::from(BATCH))
}
