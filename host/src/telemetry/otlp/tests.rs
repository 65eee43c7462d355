use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;

use super::client::Collector;
use super::metrics::request;
use crate::config::TelemetryConfig;
use crate::resilience::latency::LatencyHistogram;
use crate::telemetry::catalogue::{BREAKER_STATE, CLIENT_DURATION, IN_FLIGHT, RESTARTS};
use crate::telemetry::metrics::{Labels, Metrics};

fn config() -> TelemetryConfig {
    let mut config = TelemetryConfig::default();
    config.otlp.endpoint = Some("http://127.0.0.1:4317".to_owned());
    config.resource.insert("service.version".to_owned(), "9".to_owned());
    config
}

#[test]
fn histograms_and_sums_are_what_the_conventions_say() {
    let mut metrics = Metrics::new(SystemTime::now() - Duration::from_secs(60));
    let latency = LatencyHistogram::new();
    [15, 1500, 1600].iter().for_each(|micros| latency.record(Duration::from_micros(*micros)));
    let labels: Labels = vec![("rpc.method", Cow::Borrowed("a.B/C"))];
    metrics.add(&CLIENT_DURATION, labels.clone(), latency.snapshot().into());
    metrics.count(&RESTARTS, &labels, 4);
    metrics.count(&IN_FLIGHT, &labels, 2);
    metrics.level(&BREAKER_STATE, &labels, 1.0);
    let collector = Collector::new(&config()).unwrap().unwrap();
    let request = request(&metrics, collector.resource());
    let of_host = &request.resource_metrics[0];
    let attributes = &of_host.resource.as_ref().unwrap().attributes;
    let mut keys: Vec<_> = attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "service.instance.id",
            "service.name",
            "service.version",
            "telemetry.sdk.language",
            "telemetry.sdk.name"
        ]
    );
    let metric = |name: &str| {
        let found = of_host.scope_metrics[0].metrics.iter().find(|metric| metric.name == name);
        found.unwrap().data.clone().unwrap()
    };
    let Data::Histogram(histogram) = metric("rpc.client.call.duration") else { panic!("no histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((histogram.aggregation_temporality, point.count), (2, 3));
    assert_eq!((point.bucket_counts[1], point.bucket_counts[7], point.bucket_counts.len()), (1, 2, 22));
    assert_eq!(point.sum, Some(3115e-6));
    assert!(point.time_unix_nano - point.start_time_unix_nano >= 60_000_000_000);
    assert!(matches!(metric("plugmesh.instance.restarts"), Data::Sum(sum) if sum.is_monotonic));
    assert!(matches!(metric("plugmesh.instance.in_flight"), Data::Sum(sum) if !sum.is_monotonic));
    assert!(matches!(metric("plugmesh.breaker.state"), Data::Gauge(_)));
}

#[test]
fn a_collector_that_cannot_be_used_is_refused() {
    assert!(Collector::new(&TelemetryConfig::default()).unwrap().is_none(), "nothing is sent unasked");
    let refused = |change: fn(&mut TelemetryConfig)| {
        let mut config = config();
        change(&mut config);
        Collector::new(&config).unwrap_err().to_string()
    };
    let said = refused(|config| config.otlp.endpoint = Some("http://a b".to_owned()));
    assert!(said.contains("a b"), "{said}");
    let said = refused(|config| config.otlp.ca = Some("/nowhere/ca.pem".into()));
    assert!(said.contains("/nowhere/ca.pem"), "{said}");
    let said = refused(|config| {
        config.otlp.headers.insert("x".to_owned(), crate::config::Secret::new("a\nb"));
    });
    assert!(said.contains("\"x\"") && !said.contains("a\nb"), "{said}");
}
