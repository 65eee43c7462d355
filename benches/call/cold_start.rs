//! From the spawn of a plugin to its first answer.

use std::time::Instant;

use plugmesh_benches::BoxError;
use plugmesh_benches::cell::{Metric, Sample};
use plugmesh_benches::echo::EchoRequest;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::process::Cpus;
use plugmesh_benches::stats::Spread;
use serde::{Deserialize, Serialize};

use crate::mesh::Mesh;
use crate::place::Transport;
use crate::plain;
use crate::server::Plugin;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) mesh: bool,
    pub(crate) transport: Transport,
    pub(crate) starts: usize,
}

/// Starts a plugin again and again, and calls it as soon as it can be called.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    let mut millis = Vec::new();
    let mesh = if spec.mesh { Some(Mesh::open().await?) } else { None };
    for _ in 0..spec.starts {
        millis.push(match &mesh {
            Some(mesh) => through(mesh, spec.transport).await?,
            None => bare(spec.transport).await?,
        });
    }
    if let Some(mesh) = mesh {
        mesh.close().await;
    }
    let spread = Spread::of(millis).ok_or("no start was asked for")?;
    Ok(Sample::from([(Metric::ColdStart, spread.median)]))
}

/// A host that runs starts a plugin with the SDK, with handshake, phases and health.
async fn through(mesh: &Mesh, transport: Transport) -> Result<f64, BoxError> {
    let since = Instant::now();
    mesh.launch(transport, Cpus::All, None).await?;
    answer(&mut EchoServiceClient::new(mesh.channel())).await?;
    let took = millis(since);
    mesh.unload().await?;
    Ok(took)
}

/// A program starts a bare tonic server, with fresh certificates where it needs some, and dials it.
async fn bare(transport: Transport) -> Result<f64, BoxError> {
    let folder = tempfile::tempdir()?;
    let since = Instant::now();
    let (process, place) = Plugin::Bare.start(transport.place(&folder)?, Cpus::All)?;
    answer(&mut EchoServiceClient::new(plain::connect(&place).await?)).await?;
    let took = millis(since);
    drop(process);
    Ok(took)
}

async fn answer<T>(client: &mut EchoServiceClient<T>) -> Result<(), BoxError>
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<tonic::codegen::StdError>,
    T::ResponseBody: tonic::codegen::Body<Data = tonic::codegen::Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    client.echo(EchoRequest { payload: vec![7; 100] }).await?;
    Ok(())
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64 / 1e6
}
