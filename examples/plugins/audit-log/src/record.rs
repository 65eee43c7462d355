//! What the events say, and how that is written down.

use plugmesh_sdk::events::Received;
use serde::Deserialize;
use tracing::{error, info};

/// Something to be written down.
pub(crate) trait Record {
    /// Writes it: the host collects the lines of its plugins, and `plugmesh logs audit-log` shows them.
    fn write(&self, received: &Received);
}

/// Data of `user.login`.
#[derive(Deserialize)]
pub(crate) struct Login {
    user: String,
    /// Where from.
    address: Option<String>,
}

/// Data of `user.logout`.
#[derive(Deserialize)]
pub(crate) struct Logout {
    user: String,
    /// How long the session was.
    seconds: Option<u64>,
}

/// Data of `service.error`.
#[derive(Deserialize)]
pub(crate) struct Failure {
    service: String,
    message: String,
    /// A status code of gRPC, by its name.
    code: Option<String>,
}

impl Record for Login {
    fn write(&self, received: &Received) {
        let event = &received.event;
        info!(
            target: "audit", topic = event.event_type(), id = event.id(), source = event.source(),
            user = self.user, address = self.address, "user came"
        );
    }
}

impl Record for Logout {
    fn write(&self, received: &Received) {
        let event = &received.event;
        info!(
            target: "audit", topic = event.event_type(), id = event.id(), source = event.source(),
            user = self.user, seconds = self.seconds, "user went"
        );
    }
}

impl Record for Failure {
    fn write(&self, received: &Received) {
        let event = &received.event;
        error!(
            target: "audit", topic = event.event_type(), id = event.id(), source = event.source(),
            service = self.service, code = self.code, "{}", self.message
        );
    }
}
