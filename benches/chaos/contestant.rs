//! Who is put to the test.
//!
//! To try another configuration of the mesh beside the others, add a line to [`Contestant::ALL`].

use plugmesh_benches::allocator::Allocator;
use serde::{Deserialize, Serialize};

/// A way to the instances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contestant {
    /// Name of its column.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The host library, linked into the client, which starts the instances.
    Mesh {
        /// Keys of `plugin.yaml`, beside those that say what to run.
        manifest: &'static str,
        /// `plugmesh.yaml`.
        host: &'static str,
    },
    /// tonic's own balancing channel. A small supervisor starts the instances.
    Plain,
}

/// How a client is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Runtime {
    /// On one thread, as the host recommends.
    CurrentThread,
    /// As `#[tokio::main]` does unless told otherwise.
    MultiThread,
}

/// The policy of the mesh: what it has unless told otherwise.
const MANIFEST: &str = "\
balance: least_request
";

/// What the host itself is told.
const HOST: &str = "\
log:
  level: warn
";

impl Contestant {
    /// The name of the mesh's column.
    pub(crate) const MESH: &'static str = "mesh";

    pub(crate) const ALL: [Self; 2] = [
        Self { name: Self::MESH, kind: Kind::Mesh { manifest: MANIFEST, host: HOST } },
        Self { name: "plain", kind: Kind::Plain },
    ];

    pub(crate) fn runtime(self) -> Runtime {
        match self.kind {
            Kind::Mesh { .. } => Runtime::CurrentThread,
            Kind::Plain => Runtime::MultiThread,
        }
    }

    pub(crate) fn allocator(self) -> Allocator {
        match self.kind {
            Kind::Mesh { .. } => Allocator::Mimalloc,
            Kind::Plain => Allocator::System,
        }
    }
}
