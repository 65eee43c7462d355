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
    /// 1000, or less in a smoke run.
    pub(crate) endpoints: usize,
}

/// Opens endpoints, each of which is called once, and looks at the memory on the way.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    let mesh = Mesh::new()?;
    let mut endpoints = Endpoints::default();
    let mut sample = Sample::new();
    endpoints.grow(1, &spec, &mesh).await?;
    let one = usage::resident_kib()?;
    sample.insert(Metric::Resident, one);
    for (count, metric) in [(100, Metric::PerEndpoint100), (1000, Metric::PerEndpoint1000)] {
        if count <= spec.endpoints {
            endpoints.grow(count, &spec, &mesh).await?;
            sample.insert(metric, (usage::resident_kib()? - one) / (count - 1) as f64);
        }
    }
    Ok(sample)
}

#[derive(Default)]
struct Endpoints {
    plain: Vec<EchoServiceClient<tonic::transport::Channel>>,
    mesh: usize,
}

impl Endpoints {
    async fn grow(&mut self, count: usize, spec: &Spec, mesh: &Mesh) -> Result<(), BoxError> {
        while self.plain.len() + self.mesh < count {
            let request = EchoRequest { payload: vec![7; 100] };
            match spec.side {
                Side::Plain => {
                    let mut client = EchoServiceClient::new(plain::connect(&spec.place).await?);
                    client.echo(request).await?;
                    self.plain.push(client);
                }
                Side::Mesh | Side::MeshOrdinary => {
                    let endpoint = mesh.dial(&spec.place, 1).await?;
                    EchoServiceClient::new(endpoint.channel()).echo(request).await?;
                    self.mesh += 1;
                }
            }
        }
        Ok(())
    }
}
