//! The connection to a collector.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_sdk::Resource;
use plugmesh::causes::and_causes;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::config::{OtlpConfig, TelemetryConfig};

/// How often at most somebody is told that the collector does not take what it is sent.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Who takes metrics and traces, and what this program tells it of itself. Clones are the same to the collector.
#[derive(Clone)]
pub struct Collector(Arc<Shared>);

struct Shared {
    endpoint: Endpoint,
    headers: MetadataMap,
    config: OtlpConfig,
    resource: Resource,
    trouble: Trouble,
}

/// Why nothing can be sent to a collector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// The address makes no sense.
    #[error("the collector's address {endpoint:?} cannot be used: {source}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The file of `ca` cannot be read.
    #[error("cannot read {path}, which the collector's certificate is checked against: {source}", path = path.display())]
    Certificates {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A header is none.
    #[error("the header {name:?} for the collector has a name or a value that metadata cannot have")]
    Header {
        /// Its name.
        name: String,
    },
}

/// Tells of trouble now and then, and counts in between.
#[derive(Debug, Default)]
struct Trouble {
    told: Mutex<Option<Instant>>,
    untold: AtomicU64,
}

impl Collector {
    /// The collector that `config` names; `None` when it names none. Nothing is dialled before there is something to send.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn new(config: &TelemetryConfig) -> Result<Option<Self>, CollectorError> {
        let otlp = &config.otlp;
        let Some(address) = &otlp.endpoint else { return Ok(None) };
        let unusable = |source| CollectorError::Endpoint { endpoint: address.clone(), source };
        let mut endpoint = Endpoint::from_shared(address.clone()).map_err(unusable)?;
        endpoint = endpoint.connect_timeout(otlp.timeout);
        if let Some(path) = &otlp.ca {
            let unreadable = |source| CollectorError::Certificates { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(unreadable)?;
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint = endpoint.tls_config(tls).map_err(unusable)?;
        }
        let headers = headers(otlp)?;
        let resource = resource(config);
        let shared =
            Shared { endpoint, headers, config: otlp.clone(), resource, trouble: Trouble::default() };
        Ok(Some(Self(Arc::new(shared))))
    }

    /// From one export of metrics to the next.
    pub(super) fn interval(&self) -> Duration {
        self.0.config.interval
    }

    pub(super) fn resource(&self) -> &Resource {
        &self.0.resource
    }

    /// A connection whose tasks are those of the current runtime.
    pub(super) fn connect(&self) -> Client {
        Client { collector: self.clone(), channel: self.0.endpoint.connect_lazy() }
    }

    pub(super) fn warn(&self, what: fmt::Arguments<'_>) {
        let trouble = &self.0.trouble;
        let mut told = trouble.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < WARN_EVERY) {
            trouble.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        *told = Some(Instant::now());
        let untold = trouble.untold.swap(0, Ordering::Relaxed);
        let endpoint = self.0.endpoint.uri();
        tracing::warn!(%endpoint, untold, "the collector is not sent everything: {what}");
    }
}

fn headers(config: &OtlpConfig) -> Result<MetadataMap, CollectorError> {
    let mut headers = MetadataMap::new();
    for (name, value) in &config.headers {
        let key = AsciiMetadataKey::from_bytes(name.as_bytes()).ok();
        let value = value.expose().parse::<AsciiMetadataValue>().ok();
        let Some((key, mut value)) = key.zip(value) else {
            return Err(CollectorError::Header { name: name.clone() });
        };
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// What every metric and span says of its origin.
fn resource(config: &TelemetryConfig) -> Resource {
    let mut attributes: BTreeMap<String, String> = config.resource.clone();
    attributes.insert("service.name".to_owned(), config.service_name().to_owned());
    let mut default = |name: &str, value: String| {
        attributes.entry(name.to_owned()).or_insert(value);
    };
    default("service.version", env!("CARGO_PKG_VERSION").to_owned());
    default("service.instance.id", uuid::Uuid::new_v4().to_string());
    default("telemetry.sdk.language", "rust".to_owned());
    default("telemetry.sdk.name", "opentelemetry".to_owned());
    let attributes = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
    Resource::builder_empty().with_attributes(attributes).build()
}

/// A connection to a collector.
pub(super) struct Client {
    collector: Collector,
    channel: Channel,
}

impl Client {
    /// Sends metrics. What goes wrong is told, now and then, and lost: the next ones say it all again.
    pub(super) async fn metrics(&self, metrics: ExportMetricsServiceRequest) {
        let mut client = MetricsServiceClient::new(self.channel.clone());
        let sent = self.within(async { client.export(self.request(metrics)).await });
        match sent.await.map(|response| response.into_inner().partial_success) {
            Ok(Some(part)) if part.rejected_data_points > 0 => self.collector.warn(format_args!(
                "{} data points refused: {}",
                part.rejected_data_points, part.error_message
            )),
            Ok(_) => {}
            Err(status) => self.collector.warn(format_args!("metrics: {}", shown(&status))),
        }
    }

    /// Sends spans, of which what goes wrong is told, now and then, and lost.
    pub(super) async fn spans(&self, spans: ExportTraceServiceRequest) {
        let mut client = TraceServiceClient::new(self.channel.clone());
        let sent = self.within(async { client.export(self.request(spans)).await });
        match sent.await.map(|response| response.into_inner().partial_success) {
            Ok(Some(part)) if part.rejected_spans > 0 => self
                .collector
                .warn(format_args!("{} spans refused: {}", part.rejected_spans, part.error_message)),
            Ok(_) => {}
            Err(status) => self.collector.warn(format_args!("spans: {}", shown(&status))),
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.collector.0.headers.clone();
        request
    }

    async fn within<T>(&self, sent: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let limit = self.collector.0.config.timeout;
        let late = || Status::new(Code::DeadlineExceeded, format!("no answer within {limit:?}"));
        tokio::time::timeout(limit, sent).await.unwrap_or_else(|_| Err(late()))
    }
}

fn shown(status: &Status) -> String {
    and_causes(format!("{:?}: {}", status.code(), status.message()), status)
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("endpoint", self.0.endpoint.uri()).finish_non_exhaustive()
    }
}
