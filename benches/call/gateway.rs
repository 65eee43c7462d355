//! The gateway of the host as a hop: the host in the layout of the `plugmesh` executable, with the plugin as a remote
//! endpoint.

use std::path::PathBuf;

use plugmesh_benches::BoxError;
use serde::{Deserialize, Serialize};

use crate::mesh::Mesh;
use crate::place::Place;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) listen: PathBuf,
    pub(crate) upstream: PathBuf,
}

/// Forwards until it is killed. Prints a line once it listens and the plugin is ready.
pub(crate) async fn run(spec: Spec) -> Result<(), BoxError> {
    let mesh = Mesh::gateway(spec.listen).await?;
    mesh.dial(&Place::Unix(spec.upstream), 1, None).await?;
    println!();
    std::future::pending().await
}
