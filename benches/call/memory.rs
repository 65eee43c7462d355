//! What an idle endpoint holds.

use plugmesh_benches::BoxError;
use plugmesh_benches::cell::{Metric, Sample};
use plugmesh_benches::echo::EchoRequest;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::usage;
use serde::{Deserialize, Serialize};

use crate::client::Side;
use crate::mesh::Mesh;
use crate::place::Place;
use crate::plain;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) side: Side,
    pub(crate) place: Place,
    pub(crate) endpoints: usize,
}

/// Opens endpoints, calls each once, and looks at the memory.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    let request = EchoRequest { payload: vec![7; 100] };
    let resident = match spec.side {
        Side::Plain => {
            let mut clients = Vec::new();
            for _ in 0..spec.endpoints {
                let mut client = EchoServiceClient::new(plain::connect(&spec.place).await?);
                client.echo(request.clone()).await?;
                clients.push(client);
            }
            usage::resident_kib()?
        }
        Side::Mesh | Side::MeshOrdinary => {
            let mesh = Mesh::open().await?;
            mesh.dial(&spec.place, spec.endpoints, Some(1)).await?;
            let mut client = EchoServiceClient::new(mesh.channel());
            for _ in 0..spec.endpoints {
                client.echo(request.clone()).await?;
            }
            let resident = usage::resident_kib()?;
            mesh.close().await;
            resident
        }
    };
    Ok(Sample::from([(Metric::Resident, resident)]))
}
