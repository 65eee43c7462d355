//! What a process of this benchmark may be.

use plugmesh_benches::BoxError;
use serde::{Deserialize, Serialize};

use crate::{backlog, bus, durable, flow, round_trip};

/// What a process is, given to it when it is started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    Bus(bus::Spec),
    Publisher(flow::Publisher),
    Subscriber(flow::Subscriber),
    Asker(round_trip::Asker),
    Answerer(round_trip::Answerer),
    DurablePublisher(durable::Publisher),
    Backlog(backlog::Backlog),
    Bystander(backlog::Bystander),
}

impl Role {
    pub(crate) fn run(self) -> Result<(), BoxError> {
        // On one thread, each of them: there are more processes than CPUs.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self {
                Self::Bus(spec) => bus::run(spec).await,
                Self::Publisher(spec) => spec.run().await,
                Self::Subscriber(spec) => spec.run().await,
                Self::Asker(spec) => spec.run().await,
                Self::Answerer(spec) => spec.run().await,
                Self::DurablePublisher(spec) => spec.run().await,
                Self::Backlog(spec) => spec.run().await,
                Self::Bystander(spec) => spec.run().await,
            }
        })
    }
}
