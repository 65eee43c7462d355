//! `AdminService`: what an operator can ask of a running host.

mod convert;
mod explain;
mod service;
mod stream;

use std::sync::Arc;

use plugmesh::admin::v1 as pb;
use plugmesh::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use tokio::runtime::Handle;

use crate::host::Shared;
pub(crate) use explain::explain;
use service::Service;

/// The service, for the gateway. Its work is done on `control`.
pub(crate) fn service(shared: Arc<Shared>, control: Handle) -> AdminServiceServer<impl AdminService> {
    AdminServiceServer::new(Service::new(shared, control))
}

/// Every plugin, in the order of the names.
pub(crate) fn plugins(shared: &Shared) -> Vec<pb::Plugin> {
    let board = shared.mesh.board().snapshot();
    board.values().map(|status| convert::plugin(status, &board)).collect()
}

/// How well everything is.
pub(crate) fn health(shared: &Shared) -> pb::GetHealthResponse {
    convert::health(&shared.mesh.board().snapshot())
}

/// Every service, in the order of the names.
pub(crate) fn services(shared: &Shared) -> Vec<pb::Service> {
    let services = shared.mesh.router().services().into_iter();
    let service = |(name, plugins): (Arc<str>, Vec<crate::name::PluginName>)| pb::Service {
        methods: shared.catalog.methods(&name).iter().map(convert::method).collect(),
        name: name.to_string(),
        plugins: plugins.iter().map(ToString::to_string).collect(),
    };
    services.map(service).collect()
}
