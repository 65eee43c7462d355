//! `AdminService`: what an operator can ask of a running host.

mod convert;
mod service;
mod stream;

use std::sync::Arc;

use plugmesh::admin::v1::admin_service_server::AdminServiceServer;
use tokio::runtime::Handle;

use crate::host::Shared;
use service::Service;

/// The service, for the gateway. Its work is done on `control`.
pub(crate) fn service(shared: Arc<Shared>, control: Handle) -> AdminServiceServer<impl plugmesh::admin::v1::admin_service_server::AdminService> {
    AdminServiceServer::new(Service::new(shared, control))
}
