//! The client of a cell: what makes the calls.

use plugmesh_benches::BoxError;
use plugmesh_benches::allocator::Allocator;
use plugmesh_benches::cell::Sample;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::load::{self, Load, Watched};
use plugmesh_host::transport::Pool;
use serde::{Deserialize, Serialize};

use crate::mesh::Mesh;
use crate::place::Place;
use crate::plain;
use crate::role::Runtime;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    /// tonic's `Channel` in an ordinary program.
    Plain,
    /// The mesh in a process that is laid out as the host recommends.
    Mesh,
    /// The mesh in an ordinary program, with the allocator of the plain side.
    MeshOrdinary,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mesh => "mesh",
            Self::MeshOrdinary => "mesh-ordinary",
        }
    }

    pub(crate) fn runtime(self) -> Runtime {
        match self {
            Self::Mesh => Runtime::CurrentThread,
            Self::Plain | Self::MeshOrdinary => Runtime::MultiThread,
        }
    }

    pub(crate) fn allocator(self) -> Allocator {
        match self {
            Self::Mesh => Allocator::Mimalloc,
            Self::Plain | Self::MeshOrdinary => Allocator::System,
        }
    }
}

/// Connections to the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Connections {
    /// So many.
    Fixed(usize),
    /// As many as the side opens when nobody says.
    Default,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) side: Side,
    pub(crate) place: Place,
    pub(crate) connections: Connections,
    pub(crate) load: Load,
    pub(crate) watched: Watched,
}

/// Makes the calls and says what they cost.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    match spec.side {
        Side::Plain => {
            let count = match spec.connections {
                Connections::Fixed(count) => count,
                Connections::Default => 1,
            };
            let mut clients = Vec::new();
            for _ in 0..count {
                clients.push(EchoServiceClient::new(plain::connect(&spec.place).await?));
            }
            load::run(clients, spec.load, spec.watched).await
        }
        Side::Mesh | Side::MeshOrdinary => {
            let mesh = Mesh::new()?;
            match spec.connections {
                // So many instances of one connection each: a pool grows when it likes.
                Connections::Fixed(count) => {
                    for _ in 0..count {
                        mesh.dial(&spec.place, 1).await?;
                    }
                }
                Connections::Default => {
                    mesh.dial(&spec.place, Pool::MAX_CONNECTIONS).await?;
                }
            }
            load::run(vec![EchoServiceClient::new(mesh.channel())], spec.load, spec.watched).await
        }
    }
}
