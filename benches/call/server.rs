//! The plugin that is called: the same one on both sides of every comparison.

use plugmesh_benches::BoxError;
use plugmesh_benches::allocator::Allocator;
use plugmesh_benches::echo::echo_service_server::{EchoService, EchoServiceServer};
use plugmesh_benches::echo::{EchoRequest, EchoResponse};
use plugmesh_benches::process::{Cpus, Process};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::place::Place;
use crate::role::{Role, Runtime};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) place: Place,
    pub(crate) runtime: Runtime,
}

/// Which plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// As the SDK sets it up.
    Sdk,
    /// A tonic server in a program that sets up nothing.
    Tonic,
}

impl Plugin {
    fn layout(self) -> (Runtime, Allocator) {
        match self {
            Self::Sdk => (Runtime::CurrentThread, Allocator::Mimalloc),
            Self::Tonic => (Runtime::MultiThread, Allocator::System),
        }
    }

    /// Starts it, and says where it listens.
    pub(crate) fn start(self, place: Place, cpus: Cpus) -> Result<(Process, Place), BoxError> {
        let (runtime, allocator) = self.layout();
        let spec = Spec { place: place.clone(), runtime };
        let mut process = Process::role(&Role::Server(spec), cpus, allocator)?;
        let place = place.bound(&process.line()?)?;
        Ok((process, place))
    }
}

/// Serves until it is killed. Prints a line once it listens: the port, if there is one.
pub(crate) async fn serve(spec: Spec) -> Result<(), BoxError> {
    let service = EchoServiceServer::new(Echo);
    match spec.place {
        Place::Unix(path) => {
            let listener = UnixListener::bind(path)?;
            println!();
            Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await?;
        }
        Place::Tls { certificates, .. } => {
            let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
            println!("{}", incoming.local_addr()?.port());
            let tls = ServerTlsConfig::new()
                .identity(Identity::from_pem(certificates.server.cert, certificates.server.key))
                .client_ca_root(Certificate::from_pem(certificates.ca));
            Server::builder().tls_config(tls)?.add_service(service).serve_with_incoming(incoming).await?;
        }
    }
    Ok(())
}

/// Answers with what it got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo;

#[tonic::async_trait]
impl EchoService for Echo {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        Ok(Response::new(EchoResponse { payload: request.into_inner().payload }))
    }
}
