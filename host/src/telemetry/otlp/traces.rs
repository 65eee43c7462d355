//! Spans, sent to a collector as they end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;

use super::client::{Client, Collector};
use super::metrics::SCOPE;
use crate::config::TracesConfig;
use crate::span::TARGET;

/// Spans that wait to be sent; what ends beyond it is dropped and counted. A second of some 2700 calls, a few megabytes.
const QUEUE: usize = 8192;

/// Spans of one request: OpenTelemetry's default.
const BATCH: usize = 512;

/// How long spans wait for others.
const GATHER: Duration = Duration::from_secs(1);

/// Sends the spans of calls to a collector, from a thread of its own. Dropping it ends that at once; what was not sent is lost.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    finish: Option<oneshot::Sender<Duration>>,
    ended: std_mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Takes spans from those who end them, who never wait.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<SpanData>,
    signs: Arc<Signs>,
}

#[derive(Debug, Default)]
struct Signs {
    /// Half of the queue is full.
    crowded: Notify,
    dropped: AtomicU64,
}

impl Traces {
    /// Begins to send what the [layer](Self::layer) gets.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(collector: Collector, config: TracesConfig) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (spans, received) = mpsc::channel(QUEUE);
        let signs = Arc::new(Signs::default());
        let (finish, finished) = oneshot::channel();
        let (tell, ended) = std_mpsc::sync_channel(1);
        let (taker, resource) = (signs.clone(), collector.resource().clone());
        let thread = std::thread::Builder::new().name("plugmesh-traces".to_owned()).spawn(move || {
            runtime.block_on(send_all(collector, received, &taker, finished));
            // What still connects ends here.
            runtime.shutdown_background();
            let _ = tell.send(());
        })?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Queue { spans, signs })
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        Ok(Self { provider, finish: Some(finish), ended, thread: Some(thread) })
    }

    /// What a subscriber needs to have the spans of calls sent.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false);
        layer.with_filter(wanted::<S>())
    }

    /// Sends what has ended until now, for at most `deadline`, and ends its thread.
    pub async fn shutdown(mut self, deadline: Duration) {
        if let Some(finish) = self.finish.take()
            && finish.send(deadline).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn wanted<S>() -> impl Filter<S> + use<S> {
    Targets::new().with_target(TARGET, tracing::Level::TRACE)
}

impl Drop for Traces {
    fn drop(&mut self) {
        /// It has nothing to wait for; should it, the process can end without it.
        const END: Duration = Duration::from_millis(500);
        drop(self.finish.take());
        if let Some(thread) = self.thread.take()
            && self.ended.recv_timeout(END).is_ok()
        {
            let _ = thread.join();
        }
    }
}

async fn send_all(
    collector: Collector,
    mut spans: mpsc::Receiver<SpanData>,
    signs: &Signs,
    mut finished: oneshot::Receiver<Duration>,
) {
    let client = collector.connect();
    let resource = ResourceAttributesWithSchema::from(collector.resource());
    let sending = async {
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            match spans.recv().await {
                Some(first) => batch.push(first),
                None => break std::future::pending().await,
            }
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = signs.crowded.notified() => {}
            }
            send_waiting(&client, &resource, &mut spans, batch).await;
            let dropped = signs.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                collector.warn(format_args!("{dropped} spans dropped, since more end than it takes"));
            }
        }
    };
    let deadline = tokio::select! {
        () = sending => return,
        deadline = &mut finished => deadline,
    };
    // An error means that the owner is gone, and with it the wish to send anything.
    let Ok(deadline) = deadline else { return };
    let rest = send_waiting(&client, &resource, &mut spans, Vec::new());
    if tokio::time::timeout(deadline, rest).await.is_err() {
        collector.warn(format_args!("the last spans were not taken within {deadline:?}"));
    }
}

/// Sends `batch` and what waits.
async fn send_waiting(
    client: &Client,
    resource: &ResourceAttributesWithSchema,
    spans: &mut mpsc::Receiver<SpanData>,
    mut batch: Vec<SpanData>,
) {
    loop {
        while batch.len() < BATCH
            && let Ok(span) = spans.try_recv()
        {
            batch.push(span);
        }
        if batch.is_empty() {
            return;
        }
        let spans = group_spans_by_resource_and_scope(std::mem::take(&mut batch), resource);
        client.spans(ExportTraceServiceRequest { resource_spans: spans }).await;
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.spans.try_send(span).is_err() {
            self.signs.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if self.spans.capacity() == QUEUE / 2 {
            self.signs.crowded.notify_one();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
