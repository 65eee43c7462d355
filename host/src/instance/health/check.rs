//! One question whether an instance still answers.

use std::sync::Arc;

use http::uri::PathAndQuery;
use tonic::Request;
use tonic::client::Grpc;
use tonic_health::pb::HealthCheckRequest;

use super::codec::HealthCodec;
use super::{Health, HealthError, health};
use crate::instance::is_transport;
use crate::route::Endpoint;

/// The method.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Asks once how the whole instance, the service named "", is. Any answer proves that somebody is there; `None` says
/// that the answer tells no more than that, as UNIMPLEMENTED from a plugin without a health service does, or NOT_FOUND
/// from one that knows its services by name only.
///
/// It has no bound of its own: the caller sets one. Dropping the future gives the question up.
///
/// # Errors
/// There was no answer: the connection broke, or there is none.
pub async fn check(endpoint: &Arc<Endpoint>) -> Result<Option<Health>, HealthError> {
    let mut client = Grpc::new(endpoint.channel());
    let failed = |status| HealthError(Box::new(status));
    client.ready().await.map_err(failed)?;
    let request = Request::new(HealthCheckRequest { service: String::new() });
    match client.unary(request, PathAndQuery::from_static(CHECK), HealthCodec).await {
        Ok(response) => Ok(Some(health(response.into_inner().status()))),
        Err(status) if is_transport(&status) => Err(failed(status)),
        Err(_) => Ok(None),
    }
}
