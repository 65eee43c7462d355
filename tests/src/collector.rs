//! A collector of metrics and traces: OTLP over gRPC, in the process of the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::wait::DEADLINE;

/// Takes what hosts send. It ends with the runtime of the test.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    inbox: Inbox,
    changes: watch::Receiver<u64>,
}

#[derive(Clone, Debug)]
struct Inbox {
    taken: Arc<Mutex<Taken>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Taken {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    resources: Vec<Resource>,
    authorization: Vec<String>,
}

impl Collector {
    /// Listens on a port of its own.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, changes) = watch::channel(0);
        let inbox = Inbox { taken: Arc::default(), changes: sender };
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(inbox.clone()))
            .add_service(MetricsServiceServer::new(inbox.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        Self { address, inbox, changes }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `telemetry.otlp.endpoint` names.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spans that came.
    pub fn spans(&self) -> Vec<Span> {
        self.inbox.taken.lock().expect("no panic").spans.clone()
    }

    /// Waits until spans have come that are as wanted.
    pub async fn wait_for_spans(&self, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut changes = self.changes.clone();
        let waiting = changes.wait_for(|_| wanted(&self.spans()));
        let found = tokio::time::timeout(DEADLINE, waiting).await.is_ok();
        assert!(found, "waited in vain; there are {:#?}", self.spans());
        self.spans()
    }

    /// Waits until the latest histogram of that name has points as wanted, and gives them.
    pub async fn wait_for_histogram(
        &self,
        name: &str,
        wanted: impl Fn(&[HistogramDataPoint]) -> bool,
    ) -> Vec<HistogramDataPoint> {
        let mut changes = self.changes.clone();
        let waiting = changes.wait_for(|_| wanted(&self.histogram(name)));
        let found = tokio::time::timeout(DEADLINE, waiting).await.is_ok();
        assert!(found, "waited in vain; there are {:#?}", self.histogram(name));
        self.histogram(name)
    }

    fn histogram(&self, name: &str) -> Vec<HistogramDataPoint> {
        let metric = self.metric(name);
        match metric.and_then(|metric| metric.data) {
            Some(Data::Histogram(histogram)) => histogram.data_points,
            _ => Vec::new(),
        }
    }

    /// What came last of a metric.
    pub fn metric(&self, name: &str) -> Option<Metric> {
        let taken = self.inbox.taken.lock().expect("no panic");
        taken.metrics.iter().rev().find(|metric| metric.name == name).cloned()
    }

    /// An attribute of the senders: all that it ever was.
    pub fn resource(&self, key: &str) -> Vec<String> {
        let taken = self.inbox.taken.lock().expect("no panic");
        let mut values: Vec<_> =
            taken.resources.iter().map(|resource| attribute(&resource.attributes, key)).collect();
        values.dedup();
        values
    }

    /// The metadata `authorization` of every request.
    pub fn authorization(&self) -> Vec<String> {
        self.inbox.taken.lock().expect("no panic").authorization.clone()
    }
}

/// The text of an attribute; empty without it.
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

impl Inbox {
    fn take<T>(&self, request: &Request<T>, take: impl FnOnce(&mut Taken)) {
        let mut taken = self.taken.lock().expect("no panic");
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.to_str().expect("ASCII").to_owned());
        taken.authorization.push(authorization.unwrap_or_default());
        take(&mut taken);
        drop(taken);
        self.changes.send_modify(|changes| *changes += 1);
    }
}

#[tonic::async_trait]
impl TraceService for Inbox {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(&request, |taken| {
            for of_one in request.get_ref().resource_spans.clone() {
                taken.resources.extend(of_one.resource);
                taken.spans.extend(of_one.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Inbox {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(&request, |taken| {
            for of_one in request.get_ref().resource_metrics.clone() {
                taken.resources.extend(of_one.resource);
                taken.metrics.extend(of_one.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
            }
        });
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
