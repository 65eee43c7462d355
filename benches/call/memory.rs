//! What an idle endpoint holds.

use plugmesh_benches::BoxError;
use plugmesh_benches::cell::{Metric, Sample};
use plugmesh_benches::echo::EchoRequest;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::usage;
use serde::{Deserialize, Serialize};
use tonic::Request;

use crate::client::Side;
use crate::mesh::Mesh;
use crate::place::Place;
use crate::plain;

/// Endpoints after which the memory is looked at; the first look is what the others are compared with.
const COUNTS: [(usize, Metric); 3] =
    [(1, Metric::Resident), (100, Metric::PerEndpoint100), (1000, Metric::PerEndpoint1000)];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) side: Side,
    pub(crate) place: Place,
}

/// Opens endpoints, calls each once, and looks at the memory on the way.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    let mut sample = Sample::new();
    match spec.side {
        Side::Plain => plain(&spec.place, &mut sample).await?,
        Side::Mesh | Side::MeshOrdinary => {
            let mesh = Mesh::open().await?;
            through(&mesh, &spec.place, &mut sample).await?;
            mesh.close().await;
        }
    }
    Ok(sample)
}

fn request() -> EchoRequest {
    EchoRequest { payload: vec![7; 100] }
}

async fn plain(place: &Place, sample: &mut Sample) -> Result<(), BoxError> {
    let mut clients = Vec::new();
    for (count, metric) in COUNTS {
        while clients.len() < count {
            let mut client = EchoServiceClient::new(plain::connect(place).await?);
            client.echo(request()).await?;
            clients.push(client);
        }
        look(count, metric, sample)?;
    }
    Ok(())
}

/// Each endpoint is an instance of a remote plugin, of which there are as many as looks.
async fn through(mesh: &Mesh, place: &Place, sample: &mut Sample) -> Result<(), BoxError> {
    let mut endpoints = 0;
    for (count, metric) in COUNTS {
        let plugin = format!("echo-{count}");
        let missing = count - endpoints;
        mesh.dial(&plugin, place, missing, Some(1)).await?;
        endpoints = count;
        let mut client = EchoServiceClient::new(mesh.channel());
        for _ in 0..missing {
            let mut request = Request::new(request());
            request.metadata_mut().insert(plugmesh::metadata::PLUGIN, plugin.parse()?);
            client.echo(request).await?;
        }
        look(count, metric, sample)?;
    }
    Ok(())
}

fn look(count: usize, metric: Metric, sample: &mut Sample) -> Result<(), BoxError> {
    let now = usage::resident_kib()?;
    let figure = match sample.get(&Metric::Resident) {
        None => now,
        Some(one) => (now - one) / (count - 1) as f64,
    };
    sample.insert(metric, figure);
    Ok(())
}
