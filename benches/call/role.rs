//! What a process of this benchmark may be.

use std::future::Future;

use plugmesh_benches::BoxError;
use plugmesh_benches::cell::Sample;
use serde::{Deserialize, Serialize};

use crate::{client, cold_start, gateway, hop, in_process, memory, server};

/// What a process is, given to it when it is started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    Server(server::Spec),
    Client(client::Spec),
    Hop(hop::Spec),
    Gateway(gateway::Spec),
    InProcess(in_process::Spec),
    ColdStart(cold_start::Spec),
    Memory(memory::Spec),
}

impl Role {
    pub(crate) fn run(self) -> Result<(), BoxError> {
        match self {
            Self::Server(spec) => server::serve(spec),
            Self::Client(spec) => spec.side.runtime().block_on(client::run(spec)).and_then(tell),
            Self::Hop(spec) => Runtime::MultiThread.block_on(hop::run(spec)),
            Self::Gateway(spec) => Runtime::CurrentThread.block_on(gateway::run(spec)),
            Self::InProcess(spec) => Runtime::CurrentThread.block_on(in_process::run(spec)).and_then(tell),
            Self::ColdStart(spec) => Runtime::CurrentThread.block_on(cold_start::run(spec)).and_then(tell),
            Self::Memory(spec) => spec.side.runtime().block_on(memory::run(spec)).and_then(tell),
        }
    }
}

/// Tells the benchmark what was measured.
fn tell(sample: Sample) -> Result<(), BoxError> {
    println!("{}", serde_json::to_string(&sample.into_iter().collect::<Vec<_>>())?);
    Ok(())
}

/// How tasks of a process run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Runtime {
    /// On its one thread.
    CurrentThread,
    /// As `#[tokio::main]` does unless told otherwise.
    MultiThread,
}

impl Runtime {
    pub(crate) fn block_on<T>(self, work: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
        let mut builder = match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Self::MultiThread => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.enable_all().build()?.block_on(work)
    }
}
