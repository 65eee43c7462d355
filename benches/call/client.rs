//! The client of a cell: what makes the calls.

use plugmesh_benches::BoxError;
use plugmesh_benches::allocator::Allocator;
use plugmesh_benches::cell::Sample;
use plugmesh_benches::echo::echo_service_client::EchoServiceClient;
use plugmesh_benches::load::{self, Load, Watched};
use plugmesh_benches::process::Cpus;
use serde::{Deserialize, Serialize};

use crate::mesh::Mesh;
use crate::place::{Place, Transport};
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
    /// So many; on the mesh side at most, since it opens them as calls crowd.
    Fixed(u32),
    /// As many as the side opens when nobody says.
    Default,
}

/// What is called.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Target {
    /// A plugin that runs already.
    Running {
        place: Place,
        server: u32,
        /// What stands before it.
        hop: Option<u32>,
    },
    /// A plugin that the mesh starts, and starts again when it is killed at the end.
    Launched { transport: Transport, cpus: Cpus },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) side: Side,
    pub(crate) target: Target,
    pub(crate) connections: Connections,
    pub(crate) load: Load,
}

/// Makes the calls and says what they cost.
pub(crate) async fn run(spec: Spec) -> Result<Sample, BoxError> {
    match (spec.side, spec.target) {
        (Side::Plain, Target::Running { place, server, hop }) => {
            let count = match spec.connections {
                Connections::Fixed(count) => count,
                Connections::Default => 1,
            };
            let mut clients = Vec::new();
            for _ in 0..count {
                clients.push(EchoServiceClient::new(plain::connect(&place).await?));
            }
            load::run(clients, spec.load, Watched { server, hop }).await
        }
        (Side::Plain, Target::Launched { .. }) => Err("tonic starts no plugins".into()),
        (Side::Mesh | Side::MeshOrdinary, target) => {
            let mesh = Mesh::open().await?;
            let sample = through(&mesh, target, spec.connections, spec.load).await;
            mesh.close().await;
            sample
        }
    }
}

async fn through(
    mesh: &Mesh,
    target: Target,
    connections: Connections,
    load: Load,
) -> Result<Sample, BoxError> {
    let most = match connections {
        Connections::Fixed(count) => Some(count),
        Connections::Default => None,
    };
    let clients = vec![EchoServiceClient::new(mesh.channel())];
    match target {
        Target::Running { place, server, hop } => {
            mesh.dial(&place, 1, most).await?;
            load::run(clients, load, Watched { server, hop }).await
        }
        Target::Launched { transport, cpus } => {
            mesh.launch(transport, cpus, most).await?;
            let sample = load::run(clients, load, Watched { server: mesh.pid()?, hop: None }).await?;
            mesh.survive().await?;
            Ok(sample)
        }
    }
}
