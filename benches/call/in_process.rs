//! A call that stays in the process.

use std::time::Instant;

use plugmesh_benches::BoxError;
use plugmesh_benches::args::Span;
use plugmesh_benches::cell::{Metric, Sample};
use plugmesh_benches::echo::EchoRequest;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::echo::echo_service_server::EchoServiceServer;
use plugmesh_host::config::PolicySaid;
use serde::{Deserialize, Serialize};
use tonic::client::GrpcService;
use tonic::codegen::{Body, Bytes, StdError};

use crate::mesh::Mesh;
use crate::server::Echo;

/// Calls between two looks at the clock.
const BATCH: u32 = 256;

/// What is between the client and the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Between {
    /// Nothing: a generated client on its own generated server.
    Nothing,
    /// The mesh without retries and breakers. It picks, counts and measures as ever.
    Plain,
    /// The mesh as it is by default.
    Mesh,
}

impl Between {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "bare",
            Self::Plain => "mesh-without-resilience",
            Self::Mesh => "mesh",
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) between: Between,
    pub(crate) payload: usize,
    pub(crate) span: Span,
}

/// Calls, one after the other.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    let mut policy = PolicySaid::default();
    match spec.between {
        Between::Nothing => return calls(EchoServiceClient::new(EchoServiceServer::new(Echo)), spec).await,
        Between::Plain => {
            (policy.retry.enabled, policy.circuit_breaker.enabled) = (Some(false), Some(false));
        }
        Between::Mesh => {}
    }
    let mesh = Mesh::in_process(policy).await?;
    let sample = calls(EchoServiceClient::new(mesh.channel()), spec).await;
    mesh.close().await;
    sample
}

async fn calls<T>(mut client: EchoServiceClient<T>, spec: Spec) -> Result<Sample, BoxError>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let payload = vec![7; spec.payload];
    let (mut calls, mut measured) = (0u32, None);
    let start = Instant::now();
    loop {
        for _ in 0..BATCH {
            let answer = client.echo(EchoRequest { payload: payload.clone() }).await?;
            if answer.into_inner().payload != payload {
                return Err("the answer is not what was sent".into());
            }
        }
        match measured {
            None if start.elapsed() >= spec.span.warm_up => measured = Some(Instant::now()),
            None => {}
            Some(since) => {
                calls += BATCH;
                let elapsed = since.elapsed();
                if elapsed >= spec.span.measured {
                    let micros = elapsed.as_nanos() as f64 / 1e3 / f64::from(calls);
                    return Ok(Sample::from([(Metric::Call, micros)]));
                }
            }
        }
    }
}
