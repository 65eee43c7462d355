use std::time::SystemTime;

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

use super::*;
use crate::config::Policies;
use crate::gateway::ServerCalls;
use crate::gateway::reflection::Catalog;
use crate::route::{Route, RouteSettings, Router};
use crate::supervise::Board;

/// Keeps names and sums.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<(String, u64)>>>);

impl PushMetricExporter for Kept {
    async fn export(&self, metrics: &ResourceMetrics) -> opentelemetry_sdk::error::OTelSdkResult {
        let mut kept = self.0.lock().unwrap();
        kept.clear();
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            let sum = match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    sum.data_points().map(|point| point.value()).sum()
                }
                _ => 0,
            };
            kept.push((metric.name().to_owned(), sum));
        }
        Ok(())
    }
    fn force_flush(&self) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _: Duration) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }
    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

#[test]
fn a_provider_of_the_program_reads_everything_until_the_host_ends() {
    let router = Router::new();
    let settings = RouteSettings { policies: Policies::default(), ..RouteSettings::default() };
    let route = Route::new("demo".parse().unwrap(), settings);
    router.insert(route, ["a.B".to_owned()]);
    router.find("/a.B/C", None).unwrap().stats().record(tonic::Code::Ok, Duration::from_millis(3));
    let gateway = ServerCalls::new(Catalog::new());
    let source = Arc::new(Source::new(SystemTime::now(), Board::default(), router, gateway));
    let kept = Kept::default();
    let reader = PeriodicReader::builder(kept.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    register(&provider, &source);
    provider.force_flush().unwrap();
    let read = |name: &str| kept.0.lock().unwrap().iter().find(|(one, _)| one == name).map(|(_, sum)| *sum);
    assert_eq!(read("rpc.client.call.duration.count"), Some(1));
    // In every bucket from its own on.
    assert_eq!(read("rpc.client.call.duration.bucket"), Some(22 - 8));
    assert_eq!(read("plugmesh.calls.retries"), Some(0));
    assert!(read("plugmesh.retry_budget.balance").is_some());
    drop(source);
    // Nothing is exported when there is nothing.
    kept.0.lock().unwrap().clear();
    provider.force_flush().unwrap();
    assert_eq!(read("plugmesh.retry_budget.balance"), None, "the host is gone");
    provider.shutdown().unwrap();
}
