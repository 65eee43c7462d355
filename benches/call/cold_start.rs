//! From the spawn of a plugin to its first answer.

use std::time::Instant;

use plugmesh_benches::BoxError;
use plugmesh_benches::cell::{Metric, Sample};
use plugmesh_benches::echo::EchoRequest;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::process::Cpus;
use plugmesh_benches::stats::Spread;
use serde::{Deserialize, Serialize};

use crate::place::{Place, Transport};
use crate::plain;
use crate::server::Plugin;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) tls: bool,
    pub(crate) starts: usize,
}

/// Starts a bare tonic program again and again, and calls each as soon as it can be called.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    let mut millis = Vec::new();
    for _ in 0..spec.starts {
        let folder = tempfile::tempdir()?;
        let since = Instant::now();
        let transport = if spec.tls { Transport::Tls } else { Transport::Unix };
        let (process, place) = Plugin::Sdk.start(transport.place(&folder)?, Cpus::All)?;
        answer(&place).await?;
        millis.push(since.elapsed().as_nanos() as f64 / 1e6);
        drop(process);
    }
    let spread = Spread::of(millis).ok_or("no start was asked for")?;
    Ok(Sample::from([(Metric::ColdStart, spread.median)]))
}

async fn answer(place: &Place) -> Result<(), BoxError> {
    let mut client = EchoServiceClient::new(plain::connect(place).await?);
    client.echo(EchoRequest { payload: vec![7; 100] }).await?;
    Ok(())
}
