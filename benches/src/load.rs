//! The closed loop of calls, counted and checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::client::GrpcService;
use tonic::codegen::{Body, Bytes, StdError};

use crate::BoxError;
use crate::args::Span;
use crate::cell::{Metric, Sample};
use crate::echo::EchoRequest;
use crate::echo::echo_service_client::EchoServiceClient;
use crate::histogram::Histogram;
use crate::usage;

/// How the calls are made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Calls in flight.
    pub in_flight: usize,
    /// Bytes of payload each way.
    pub payload: usize,
    /// How long.
    pub span: Span,
}

/// Processes whose CPU time counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Watched {
    /// Of the server.
    pub server: u32,
    /// Of what stands between, if anything does.
    pub hop: Option<u32>,
}

#[derive(Default)]
struct Phase {
    measuring: AtomicBool,
    over: AtomicBool,
}

/// Calls through `clients` in turn, each of them cloned for the tasks that use it. Every answer is compared with
/// what was sent.
///
/// # Errors
/// A call failed or answered something else: figures of a path that loses calls are worth nothing.
pub async fn run<T>(
    clients: Vec<EchoServiceClient<T>>,
    load: Load,
    watched: Watched,
) -> Result<Sample, BoxError>
where
    T: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
    T::Future: Send,
{
    let phase = Arc::new(Phase::default());
    let tasks: Vec<_> = (0..load.in_flight)
        .zip(clients.iter().cycle())
        .map(|(index, client)| tokio::spawn(caller(client.clone(), load.payload, index, phase.clone())))
        .collect();
    tokio::time::sleep(load.span.warm_up).await;
    let cpu = |pid: Option<u32>| pid.map(usage::cpu);
    let pids = [Some(std::process::id()), Some(watched.server), watched.hop];
    let before = pids.map(cpu);
    let since = Instant::now();
    phase.measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(load.span.measured).await;
    phase.measuring.store(false, Ordering::Relaxed);
    let elapsed = since.elapsed();
    let after = pids.map(cpu);
    phase.over.store(true, Ordering::Relaxed);
    let mut latencies = Histogram::default();
    for task in tasks {
        latencies.merge(&task.await??);
    }
    let calls = latencies.total() as f64;
    if calls == 0.0 {
        return Err("no call was answered while it was measured".into());
    }
    let mut sample = Sample::from([
        (Metric::P50, latencies.quantile(0.5) / 1e3),
        (Metric::P99, latencies.quantile(0.99) / 1e3),
        (Metric::Rate, calls / elapsed.as_secs_f64()),
    ]);
    for (metric, (before, after)) in
        [Metric::ClientCpu, Metric::ServerCpu, Metric::HopCpu].into_iter().zip(before.into_iter().zip(after))
    {
        if let (Some(before), Some(after)) = (before, after) {
            sample.insert(metric, micros(after.saturating_sub(before)) / calls);
        }
    }
    Ok(sample)
}

/// One caller: the next call begins when the last has ended.
async fn caller<T>(
    mut client: EchoServiceClient<T>,
    size: usize,
    index: usize,
    phase: Arc<Phase>,
) -> Result<Histogram, Status>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let mut latencies = Histogram::default();
    let mut payload = vec![index as u8; size];
    while !phase.over.load(Ordering::Relaxed) {
        if let Some(first) = payload.first_mut() {
            *first = first.wrapping_add(1);
        }
        let measuring = phase.measuring.load(Ordering::Relaxed);
        let since = Instant::now();
        let answer = client.echo(EchoRequest { payload: payload.clone() }).await?;
        // A call counts when it both began and ended within the span.
        if measuring && phase.measuring.load(Ordering::Relaxed) {
            latencies.record(since.elapsed().as_nanos() as u64);
        }
        if answer.into_inner().payload != payload {
            return Err(Status::data_loss("the answer is not what was sent"));
        }
    }
    Ok(latencies)
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}
