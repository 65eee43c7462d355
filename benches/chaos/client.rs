//! The client: makes the calls when they are due, and writes down what became of each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plugmesh_benches::BoxError;
use plugmesh_benches::chaos::chaos_service_client::ChaosServiceClient;
use plugmesh_benches::chaos::{AddRequest, PutRequest, WatchRequest};
use plugmesh_benches::judgement::is_idempotent;
use plugmesh_benches::open_loop::{self, Outcome};
use serde::{Deserialize, Serialize};
use tonic::client::GrpcService;
use tonic::codegen::{Body, Bytes, StdError};
use tonic::{Code, Request, Status};

use crate::contestant::Runtime;
use crate::plan::Plan;
use crate::{control, mesh, plain};

/// Streams of a client that does not read: a dozen, so that some are on each instance.
const READERS: u32 = 12;

/// How long a call may outlast its deadline before it is given up here: what should have ended it has failed.
const GRACE: Duration = Duration::from_millis(500);

/// How long a call before the schedule may take: instances have only just started.
const START: Duration = Duration::from_secs(10);

/// How long all may take beyond the schedule. A client that hangs ends itself, and the benchmark notices.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) way: Way,
    pub(crate) runtime: Runtime,
    pub(crate) plan: Plan,
    /// Whether some open streams and do not read them.
    pub(crate) slow_readers: bool,
    /// File for the [`Report`].
    pub(crate) report: PathBuf,
}

/// What the client saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    /// Statuses that calls were lost with, and how many with each.
    pub(crate) losses: BTreeMap<String, usize>,
}

/// The way to the instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Way {
    Mesh(mesh::Spec),
    Plain { addresses: Vec<String> },
}

/// Makes the calls. Prints when they begin, and a line at the end.
pub(crate) fn run(spec: Spec) -> Result<(), BoxError> {
    let limit = spec.plan.schedule().length + LIMIT;
    std::thread::Builder::new().name("limit".into()).spawn(move || {
        control::pause(limit);
        std::process::abort();
    })?;
    let mut builder = match spec.runtime {
        Runtime::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        Runtime::MultiThread => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()?.block_on(async {
        let report = match &spec.way {
            Way::Mesh(way) => {
                let host = mesh::open(way).await?;
                let report = load(host.client(ChaosServiceClient::new), &spec).await;
                host.shutdown(Duration::from_secs(1)).await;
                report?
            }
            Way::Plain { addresses } => {
                load(ChaosServiceClient::new(plain::connect(addresses)?), &spec).await?
            }
        };
        std::fs::write(&spec.report, serde_json::to_vec(&report)?)?;
        println!();
        Ok(())
    })
}

async fn load<T>(client: ChaosServiceClient<T>, spec: &Spec) -> Result<Report, BoxError>
where
    T: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
    T::Future: Send,
{
    warm(client.clone()).await?;
    let readers = spec.slow_readers.then(|| tokio::spawn(stand_still(client.clone(), spec.plan)));
    let deadline = spec.plan.deadline;
    let losses = Arc::new(Mutex::new(BTreeMap::new()));
    let call = {
        let losses = losses.clone();
        move |id| {
            let (client, losses) = (client.clone(), losses.clone());
            async move {
                // What is to end a call is under test: this ends it in any case.
                let ended = tokio::time::timeout(deadline + GRACE, call(client, id, deadline)).await;
                let Err(status) = ended.unwrap_or_else(|_| Err(Status::deadline_exceeded("overdue"))) else {
                    return Code::Ok as i32;
                };
                let loss = format!("{:?}: {}", status.code(), status.message());
                *losses.lock().unwrap_or_else(PoisonError::into_inner).entry(loss).or_default() += 1;
                status.code() as i32
            }
        }
    };
    let outcome = open_loop::run(spec.plan.schedule(), |began| println!("{began}"), call).await?;
    if let Some(readers) = readers {
        readers.await??;
    }
    let losses = std::mem::take(&mut *losses.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Report { outcome, losses })
}

async fn call<T>(mut client: ChaosServiceClient<T>, id: u64, deadline: Duration) -> Result<(), Status>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    if is_idempotent(id) {
        let mut request = Request::new(PutRequest { id });
        request.set_timeout(deadline);
        client.put(request).await?;
    } else {
        let mut request = Request::new(AddRequest { id });
        request.set_timeout(deadline);
        client.add(request).await?;
    }
    Ok(())
}

/// Waits until the way to the instances is open: how long that takes is measured elsewhere.
async fn warm<T>(client: ChaosServiceClient<T>) -> Result<(), BoxError>
where
    T: GrpcService<tonic::body::Body> + Clone,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    // Enough that each instance has had some. Their ids are beyond those of the schedule.
    for id in 0..30 {
        call(client.clone(), WARM_UP + id, START).await?;
    }
    Ok(())
}

/// The first id of the calls before the schedule.
pub(crate) const WARM_UP: u64 = 1_000_000_000;

/// Opens streams when the disturbance begins, reads nothing from them, and drops them when it ends.
async fn stand_still<T>(client: ChaosServiceClient<T>, plan: Plan) -> Result<(), BoxError>
where
    T: GrpcService<tonic::body::Body> + Clone + Send + 'static,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
    T::Future: Send,
{
    tokio::time::sleep(plan.phases.warm_up).await;
    let until = tokio::time::Instant::now() + plan.phases.disturbed;
    let mut streams = Vec::new();
    for _ in 0..READERS {
        let mut client = client.clone();
        let opened = tokio::time::timeout_at(until, async move { client.watch(WatchRequest {}).await });
        // One that cannot be opened any more is a victim of those that were.
        if let Ok(Ok(stream)) = opened.await {
            streams.push(stream);
        }
    }
    if streams.is_empty() {
        return Err("nobody could open a stream".into());
    }
    tokio::time::sleep_until(until).await;
    Ok(())
}
