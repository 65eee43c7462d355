//! A plugin for the interoperability clients of gRPC: `grpc.testing.TestService`, and reports of load.

mod interop {
    pub(crate) mod echo;
    pub(crate) mod load;
    pub(crate) mod service;
}

use plugmesh_sdk::{Error, Plugin};
use plugmesh_tests::descriptors;
use plugmesh_tests::interop::grpc::testing::test_service_server::TestServiceServer;
use plugmesh_tests::interop::xds::service::orca::v3::open_rca_service_server::OpenRcaServiceServer;

use interop::{echo::Echo, load::Load, service::Interop};

fn main() -> Result<(), Error> {
    let load = Load::default();
    Plugin::new("interop", "1.0.0")
        .description("Answers the interoperability clients of gRPC")
        .descriptors(descriptors::INTEROP)
        .service(Echo(TestServiceServer::new(Interop::new(load.clone()))))
        .service(OpenRcaServiceServer::new(load))
        .run()
}
