//! The plugin: work that takes a while, a journal of it, and faults that can be switched on.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plugmesh::env;
use plugmesh_benches::chaos::chaos_service_server::{ChaosService, ChaosServiceServer};
use plugmesh_benches::chaos::{
    AddRequest, AddResponse, PutRequest, PutResponse, WatchRequest, WatchResponse,
};
use plugmesh_benches::journal::{Event, Incarnation, Journal};
use plugmesh_benches::{BoxError, CHAOS_DESCRIPTORS};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::control::{self, Faults};
use crate::plan::{mixed_share, wait_of};

/// Its name in the mesh.
pub(crate) const NAME: &str = "chaos";

/// The variable that keeps what it logs from the terminal, with its value: its end is no news here.
pub(crate) const QUIET: (&str, &str) = (plugmesh_sdk::LOG, "off");

/// Calls that an instance works on at once, as with a pool of so many connections to a database: five times what it
/// needs when all is well. An instance that is slow enough has a queue.
const WORKERS: usize = 8;

/// CPU time of the work of a call.
const CPU: Duration = Duration::from_micros(50);

/// Bytes of a message that is watched.
const MESSAGE: usize = 16 * 1024;

/// Salt of the dice that say which calls fail.
const ERRORS: u64 = 0x6572_726f_7273;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Where journals and control sockets are.
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
}

/// Serves until it is killed or told to end.
pub(crate) fn serve(spec: Spec) -> Result<(), BoxError> {
    let instance = std::env::var(env::INSTANCE)?;
    let ordinal = instance.rsplit('-').next().unwrap_or_default().parse()?;
    let journal = Journal::create(&spec.folder, Incarnation { ordinal, pid: std::process::id() })?;
    let worker = Arc::new(Worker {
        seed: spec.seed,
        journal,
        faults: Mutex::default(),
        workers: Semaphore::new(WORKERS),
    });
    let plugin = plugmesh_sdk::Plugin::new(NAME, "1.0.0")
        .service(ChaosServiceServer::from_arc(worker.clone()))
        .descriptors(CHAOS_DESCRIPTORS);
    let context = plugin.context();
    control::listen(&spec.folder, ordinal, move |faults| {
        context.set_serving("", !faults.unwell);
        *worker.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    })?;
    Ok(plugin.run()?)
}

#[derive(Debug)]
struct Worker {
    seed: u64,
    journal: Journal,
    faults: Mutex<Faults>,
    workers: Semaphore,
}

/// Why a call fails, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Works,
    /// Refused, and not executed.
    FailsBefore,
    /// Executed, and then the answer is lost.
    FailsAfter,
}

impl Worker {
    async fn work(&self, id: u64) -> Result<(), Status> {
        self.note(Event::Arrived, id)?;
        let faults = *self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.unwell {
            return Err(Status::unavailable("unwell"));
        }
        let fate = self.fate(id, faults.errors);
        if fate == Fate::FailsBefore {
            return Err(Status::unavailable("failed before it was executed"));
        }
        if !faults.added.is_zero() {
            tokio::time::sleep(faults.added).await;
        }
        let _worker = self.workers.acquire().await.map_err(|_| Status::internal("no workers"))?;
        self.note(Event::Executed, id)?;
        spin(CPU);
        tokio::time::sleep(wait_of(self.seed, id) * faults.slower).await;
        match fate {
            Fate::FailsAfter => Err(Status::unavailable("failed after it was executed")),
            Fate::Works | Fate::FailsBefore => Ok(()),
        }
    }

    fn fate(&self, id: u64, errors: f64) -> Fate {
        match mixed_share(self.seed ^ ERRORS, id) {
            dice if dice < errors / 2.0 => Fate::FailsBefore,
            dice if dice < errors => Fate::FailsAfter,
            _ => Fate::Works,
        }
    }

    /// Who cannot keep a journal must not work.
    fn note(&self, event: Event, id: u64) -> Result<(), Status> {
        self.journal.write(event, id).map_err(|error| Status::internal(error.to_string()))
    }
}

fn spin(time: Duration) {
    let since = Instant::now();
    while since.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[tonic::async_trait]
impl ChaosService for Worker {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.work(request.into_inner().id).await?;
        Ok(Response::new(PutResponse {}))
    }

    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        self.work(request.into_inner().id).await?;
        Ok(Response::new(AddResponse {}))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let messages = tokio_stream::iter(std::iter::repeat(()))
            .map(|()| Ok(WatchResponse { payload: vec![7; MESSAGE] }));
        Ok(Response::new(Box::pin(messages)))
    }
}
