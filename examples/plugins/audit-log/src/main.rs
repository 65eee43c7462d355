//! Writes down who came, who went and what broke: one structured line for each event of three topics.

mod record;

use plugmesh_sdk::events::{Received, Reject};
use plugmesh_sdk::{BoxError, Error, Plugin};
use record::{Failure, Login, Logout, Record};
use serde::de::DeserializeOwned;

fn main() -> Result<(), Error> {
    Plugin::new("audit-log", env!("CARGO_PKG_VERSION"))
        .description("Writes down who came, who went and what broke")
        .author("plugmesh maintainers")
        .label("lang", "rust")
        .on("user.login", write::<Login>)
        .on("user.logout", write::<Logout>)
        .on("service.error", write::<Failure>)
        .run()
}

/// Writes down one event. What cannot be read never will be: it goes to the dead letters, for a person to look at.
async fn write<R: Record + DeserializeOwned>(received: Received) -> Result<(), BoxError> {
    let record: R = received.event.json().map_err(|error| Reject(error.to_string()))?;
    record.write(&received);
    Ok(())
}
