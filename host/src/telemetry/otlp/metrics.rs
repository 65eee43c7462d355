//! Metrics as OTLP writes them.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Wire;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource as WireResource;
use opentelemetry_sdk::Resource;

use crate::telemetry::metrics::{Family, Kind, Labels, Metrics, Value};

/// Name of what measures.
pub(super) const SCOPE: &str = "plugmesh";

/// Everything, since the start of the host.
pub(super) fn request(metrics: &Metrics, resource: &Resource) -> ExportMetricsServiceRequest {
    let times = Times { start: nanos(metrics.started), at: nanos(metrics.at) };
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_metrics = ScopeMetrics {
        scope: Some(scope),
        metrics: metrics.families().map(|family| metric(family, times)).collect(),
        schema_url: String::new(),
    };
    let attributes = resource.iter().map(|(key, value)| attribute(key.as_str(), &value.as_str()));
    let resource = WireResource { attributes: attributes.collect(), ..WireResource::default() };
    let of_host = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![scope_metrics],
        schema_url: String::new(),
    };
    ExportMetricsServiceRequest { resource_metrics: vec![of_host] }
}

#[derive(Clone, Copy)]
struct Times {
    start: u64,
    at: u64,
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Wire::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| attribute(key, value)).collect()
}

fn metric(family: &Family, times: Times) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match family.kind {
        Kind::Counter | Kind::UpDown => Data::Sum(Sum {
            data_points: numbers(family, times),
            aggregation_temporality: cumulative,
            is_monotonic: family.kind == Kind::Counter,
        }),
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers(family, times) }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: histograms(family, times),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: family.name.to_owned(),
        description: family.description.to_owned(),
        unit: family.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn numbers(family: &Family, times: Times) -> Vec<NumberDataPoint> {
    let point = |(labels, value): (&Labels, &Value)| {
        let value = match value {
            Value::Count(count) => Number::AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
            Value::Level(level) => Number::AsDouble(*level),
            Value::Histogram(_) => return None,
        };
        Some(NumberDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: times.start,
            time_unix_nano: times.at,
            value: Some(value),
            ..NumberDataPoint::default()
        })
    };
    family.series().filter_map(point).collect()
}

fn histograms(family: &Family, times: Times) -> Vec<HistogramDataPoint> {
    let point = |(labels, value): (&Labels, &Value)| {
        let Value::Histogram(histogram) = value else { return None };
        Some(HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: times.start,
            time_unix_nano: times.at,
            count: histogram.count(),
            sum: Some(histogram.sum().as_secs_f64()),
            bucket_counts: histogram.buckets().collect(),
            explicit_bounds: histogram.bounds().to_vec(),
            ..HistogramDataPoint::default()
        })
    };
    family.series().filter_map(point).collect()
}
