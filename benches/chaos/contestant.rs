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
    /// Whether it takes part only when somebody asks for it, by `--only`.
    pub(crate) is_optional: bool,
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

/// The policy of the mesh: what one writes who minds the tail. Methods are idempotent as their descriptors say.
const MANIFEST: &str = "\
balance:
  policy: peak_ewma
hedging:
  delay: p95
";

/// What the mesh does unless told otherwise.
const NOTHING: &str = "";

/// What the host itself is told.
const HOST: &str = "\
log:
  level: warn
";

impl Contestant {
    /// The name of the mesh's column.
    pub(crate) const MESH: &'static str = "mesh";

    pub(crate) const ALL: [Self; 3] = [
        Self { name: Self::MESH, is_optional: false, kind: Kind::Mesh { manifest: MANIFEST, host: HOST } },
        Self { name: "plain", is_optional: false, kind: Kind::Plain },
        Self { name: "default-mesh", is_optional: true, kind: Kind::Mesh { manifest: NOTHING, host: HOST } },
    ];

    /// Whether a cell is that of a contestant that must be asked for, and is not in `wanted`.
    pub(crate) fn is_left_out(cell: &str, wanted: &[String]) -> bool {
        let optional = Self::ALL.iter().filter(|contestant| contestant.is_optional);
        let asked = |contestant: &Self| wanted.iter().any(|part| part.contains(contestant.name));
        optional.filter(|contestant| cell.ends_with(contestant.name)).any(|contestant| !asked(contestant))
    }

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
