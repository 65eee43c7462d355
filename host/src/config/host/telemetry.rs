//! `telemetry:`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::super::decode::{Decoder, Section, duration, map, number, path, secret, string, text};
use super::super::defaults::{
    EXPORT_INTERVAL, EXPORT_INTERVALS, EXPORT_TIMEOUT, MAX_ENTRIES, SAMPLE_RATIO, SERVICE_NAME, TIMEOUTS,
};
use super::super::fault::quote;
use super::super::secret::Secret;
use super::super::yaml::Node;
use super::gateway::listen;

/// What a host tells of itself, and to whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TelemetryConfig {
    /// `service.name` of the host; none for [`SERVICE_NAME`].
    pub service_name: Option<String>,
    /// More attributes of the host, by OpenTelemetry's names.
    pub resource: BTreeMap<String, String>,
    /// An address for metrics and probes alone, in plaintext: `metrics.listen`.
    pub metrics_listen: Option<SocketAddr>,
    /// The collector that metrics and traces are sent to.
    pub otlp: OtlpConfig,
    /// Which traces are sent there.
    pub traces: TracesConfig,
}

/// A collector that speaks OTLP over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpConfig {
    /// `http://` or `https://`; none: nothing is sent.
    pub endpoint: Option<String>,
    /// PEM certificates that its certificate must chain to; needed for `https://`.
    pub ca: Option<PathBuf>,
    /// Metadata of each request, such as a token.
    pub headers: BTreeMap<String, Secret>,
    /// From one export of metrics to the next.
    pub interval: Duration,
    /// How long one export may take.
    pub timeout: Duration,
}

/// Which traces are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TracesConfig {
    /// Share, from 0 to 1, of the traces that begin here. Those that a caller has begun are sent when it says so.
    pub sample_ratio: f64,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca: None,
            headers: BTreeMap::new(),
            interval: EXPORT_INTERVAL,
            timeout: EXPORT_TIMEOUT,
        }
    }
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { sample_ratio: SAMPLE_RATIO }
    }
}

impl TelemetryConfig {
    /// Fills in what is not said from OpenTelemetry's environment variables: `OTEL_EXPORTER_OTLP_ENDPOINT`,
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`. `OTEL_SDK_DISABLED=true`
    /// takes the endpoint away.
    #[must_use]
    pub fn with_environment(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let pairs = |name: &str| {
            let written = variable(name).unwrap_or_default();
            let pair = |pair: &str| {
                let (key, value) = pair.split_once('=')?;
                Some((key.trim().to_owned(), unescape(value.trim())))
            };
            written.split(',').filter_map(pair).collect::<Vec<_>>()
        };
        self.otlp.endpoint = self.otlp.endpoint.or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            self.otlp.endpoint = None;
        }
        for (key, value) in pairs("OTEL_EXPORTER_OTLP_HEADERS") {
            self.otlp.headers.entry(key.to_ascii_lowercase()).or_insert_with(|| Secret::new(value));
        }
        let mut service_name = variable("OTEL_SERVICE_NAME");
        for (key, value) in pairs("OTEL_RESOURCE_ATTRIBUTES") {
            match key.as_str() {
                "service.name" => service_name = service_name.or(Some(value)),
                _ => {
                    self.resource.entry(key).or_insert(value);
                }
            }
        }
        self.service_name = self.service_name.or(service_name);
        self
    }

    /// `service.name`.
    pub fn service_name(&self) -> &str {
        self.service_name.as_deref().unwrap_or(SERVICE_NAME)
    }
}

/// Decodes `%41` and the like, as in URLs; what is no such escape stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let decoded = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn telemetry(d: &mut Decoder<'_>, node: &Node) -> Option<TelemetryConfig> {
    let mut section = Section::open(d, node)?;
    let service_name = section.optional(d, "service_name", string);
    let resource = section.optional(d, "resource", |d, node| map(d, node, MAX_ENTRIES, string));
    let metrics_listen = section.optional(d, "metrics", metrics).flatten();
    let otlp = section.optional(d, "otlp", otlp);
    let traces = section.optional(d, "traces", traces);
    section.finish(d);
    Some(TelemetryConfig {
        service_name,
        resource: resource.unwrap_or_default(),
        metrics_listen,
        otlp: otlp.unwrap_or_default(),
        traces: traces.unwrap_or_default(),
    })
}

fn metrics(d: &mut Decoder<'_>, node: &Node) -> Option<Option<SocketAddr>> {
    let mut section = Section::open(d, node)?;
    let listen = section.optional(d, "listen", listen);
    section.finish(d);
    Some(listen)
}

fn traces(d: &mut Decoder<'_>, node: &Node) -> Option<TracesConfig> {
    let mut section = Section::open(d, node)?;
    let sample_ratio = section.optional(d, "sample_ratio", |d, node| number(d, node, 0.0..=1.0));
    section.finish(d);
    Some(TracesConfig { sample_ratio: sample_ratio.unwrap_or(SAMPLE_RATIO) })
}

fn otlp(d: &mut Decoder<'_>, node: &Node) -> Option<OtlpConfig> {
    let defaults = OtlpConfig::default();
    let mut section = Section::open(d, node)?;
    let endpoint = section.optional(d, "endpoint", endpoint);
    let ca = section.optional(d, "ca", path);
    let headers = section.optional(d, "headers", |d, node| map::<HeaderKey, _>(d, node, MAX_ENTRIES, secret));
    let interval = section.optional(d, "interval", |d, node| duration(d, node, &EXPORT_INTERVALS));
    let timeout = section.optional(d, "timeout", |d, node| duration(d, node, &TIMEOUTS));
    if endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("https:")) && !section.has("ca") {
        let hint = "add ca with the PEM certificates that the collector's certificate chains to";
        d.fault(section.at(), "an https endpoint needs ca", Some(hint.into()));
    }
    section.finish(d);
    let headers = headers.unwrap_or_default().into_iter();
    Some(OtlpConfig {
        endpoint,
        ca,
        headers: headers.map(|(HeaderKey(key), value)| (key, value)).collect(),
        interval: interval.unwrap_or(defaults.interval),
        timeout: timeout.unwrap_or(defaults.timeout),
    })
}

/// A name of metadata.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct HeaderKey(String);

impl std::str::FromStr for HeaderKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match tonic::metadata::AsciiMetadataKey::from_bytes(text.as_bytes()) {
            Ok(key) => Ok(Self(key.as_str().to_owned())),
            Err(_) => Err(format!("{} is not a name of metadata", quote(text))),
        }
    }
}

fn endpoint(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    let written = text(d, node)?;
    let uri = written.parse::<http::Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && matches!(uri.path(), "" | "/")
    });
    match uri {
        Some(_) => Some(written.to_owned()),
        None => d.refuse_with(
            node,
            format_args!("{} is not the address of a collector", quote(written)),
            "write http://HOST:PORT or https://HOST:PORT, where it takes OTLP over gRPC: port 4317 as a rule",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_fills_the_gaps() {
        let variable = |name: &str| {
            let value = match name {
                "OTEL_EXPORTER_OTLP_ENDPOINT" => "http://collector:4317",
                "OTEL_EXPORTER_OTLP_HEADERS" => "Authorization=Bearer%20abc%,x = y",
                "OTEL_RESOURCE_ATTRIBUTES" => "service.name=other, deployment.environment.name=test",
                "OTEL_SERVICE_NAME" => "mesh",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let config = TelemetryConfig::default().with_environment(variable);
        assert_eq!(config.otlp.endpoint.as_deref(), Some("http://collector:4317"));
        assert_eq!(config.service_name(), "mesh");
        assert_eq!(config.resource["deployment.environment.name"], "test");
        let headers: Vec<_> =
            config.otlp.headers.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
        assert_eq!(headers, [("authorization", "Bearer abc%"), ("x", "y")]);

        let mut said = TelemetryConfig { service_name: Some("mine".into()), ..TelemetryConfig::default() };
        said.otlp.endpoint = Some("http://127.0.0.1:1".into());
        let config = said.clone().with_environment(variable);
        assert_eq!((config.service_name(), &config.otlp.endpoint), ("mine", &said.otlp.endpoint));
        let disabled =
            |name: &str| if name == "OTEL_SDK_DISABLED" { Some("TRUE".to_owned()) } else { variable(name) };
        assert_eq!(said.with_environment(disabled).otlp.endpoint, None);
    }
}
