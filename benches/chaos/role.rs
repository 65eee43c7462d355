//! What a process of this benchmark may be.

use plugmesh_benches::BoxError;
use serde::{Deserialize, Serialize};

use crate::{client, plugin};

/// What a process is, given to it when it is started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    Plugin(plugin::Spec),
    Client(client::Spec),
}

impl Role {
    pub(crate) fn run(self) -> Result<(), BoxError> {
        match self {
            Self::Plugin(spec) => plugin::serve(spec),
            Self::Client(spec) => client::run(spec),
        }
    }
}
