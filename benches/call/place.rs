//! Where the server of a cell listens.

use std::path::PathBuf;

use plugmesh_benches::BoxError;
use plugmesh_benches::tls::Certificates;
use serde::{Deserialize, Serialize};

/// Where the server of a cell listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    Unix(PathBuf),
    /// On 127.0.0.1; port 0 before it is bound.
    Tls {
        port: u16,
        certificates: Certificates,
    },
}

/// Which kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Transport {
    Unix,
    Tls,
}

impl Transport {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tls => "mtls",
        }
    }

    /// A place of this kind; a socket lies in `folder`.
    pub(crate) fn place(self, folder: &tempfile::TempDir) -> Result<Place, BoxError> {
        Ok(match self {
            Self::Unix => Place::Unix(folder.path().join("plugin.sock")),
            Self::Tls => Place::Tls { port: 0, certificates: Certificates::generate(folder.path())? },
        })
    }
}

impl Place {
    /// The same place with the port that was bound.
    pub(crate) fn bound(self, line: &str) -> Result<Self, BoxError> {
        Ok(match self {
            Self::Unix(path) => Self::Unix(path),
            Self::Tls { certificates, .. } => Self::Tls { port: line.parse()?, certificates },
        })
    }
}
