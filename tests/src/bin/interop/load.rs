//! Reports of load, of one call and beside the calls.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use plugmesh_tests::interop::grpc::testing::TestOrcaReport;
use plugmesh_tests::interop::xds::data::orca::v3::OrcaLoadReport;
use plugmesh_tests::interop::xds::service::orca::v3::OrcaLoadReportRequest;
use plugmesh_tests::interop::xds::service::orca::v3::open_rca_service_server::OpenRcaService;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// Trailer with the report of one call.
pub(crate) const PER_CALL: &str = "endpoint-load-metrics-bin";

/// Between two reports, at least, however often they are asked for.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

/// What is reported beside the calls. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Load(Arc<watch::Sender<OrcaLoadReport>>);

impl Load {
    pub(crate) fn set(&self, asked: TestOrcaReport) {
        self.0.send_replace(report(asked));
    }
}

/// The report that a client asked for.
pub(crate) fn report(asked: TestOrcaReport) -> OrcaLoadReport {
    OrcaLoadReport {
        cpu_utilization: asked.cpu_utilization,
        mem_utilization: asked.memory_utilization,
        request_cost: asked.request_cost,
        utilization: asked.utilization,
    }
}

#[tonic::async_trait]
impl OpenRcaService for Load {
    type StreamCoreMetricsStream = Pin<Box<dyn Stream<Item = Result<OrcaLoadReport, Status>> + Send>>;

    async fn stream_core_metrics(
        &self,
        request: Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        let interval = request.into_inner().report_interval.unwrap_or_default();
        let interval = Duration::try_from(interval).unwrap_or_default().max(LEAST_INTERVAL);
        let load = self.0.clone();
        let reports = futures_util::stream::unfold(true, move |first| {
            let load = load.clone();
            async move {
                if !first {
                    tokio::time::sleep(interval).await;
                }
                let report = load.borrow().clone();
                Some((Ok(report), false))
            }
        });
        Ok(Response::new(Box::pin(reports)))
    }
}
