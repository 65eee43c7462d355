//! Why no endpoint takes a call now, and whether waiting helps.

use std::sync::Arc;

use super::{Endpoint, RouteError};

/// Why no endpoint takes a call now.
#[derive(Debug)]
pub(super) enum Unpicked {
    /// None is ready.
    NotReady(RouteError),
    /// All that may be picked have as many calls as they may.
    Full,
    /// The one that was picked is as it should be but for a connection: its server may have asked for a new one
    /// (GOAWAY) without being any less ready.
    NotConnected(Arc<Endpoint>),
    /// Waiting would not help.
    Refused(RouteError),
}

impl Unpicked {
    pub(super) fn not_connected(endpoint: &Arc<Endpoint>) -> Self {
        Self::NotConnected(endpoint.clone())
    }
}

impl From<RouteError> for Unpicked {
    fn from(error: RouteError) -> Self {
        Self::Refused(error)
    }
}
