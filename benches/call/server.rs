//! The plugin that is called: the same one on both sides of every comparison.

use std::fs;
use std::path::PathBuf;

use plugmesh::env;
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

/// Its name in the mesh.
pub(crate) const NAME: &str = "echo";

/// Its service.
pub(crate) const SERVICE: &str = "plugmesh.bench.v1.EchoService";

/// What a process that is a plugin does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Spec {
    /// Serves with the SDK, where the environment says.
    Sdk,
    /// Serves with tonic alone.
    Tonic { place: Place, runtime: Runtime },
}

/// Which plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Plugin {
    /// Written with the SDK.
    Sdk,
    /// A tonic server in a program that sets up nothing.
    Tonic,
    /// A tonic server that does nothing else, in the SDK's layout: one thread, mimalloc.
    Bare,
}

impl Plugin {
    /// Allocator of its process.
    pub(crate) fn allocator(self) -> Allocator {
        match self {
            Self::Sdk | Self::Bare => Allocator::Mimalloc,
            Self::Tonic => Allocator::System,
        }
    }

    /// Starts it without a host, and says where it listens.
    pub(crate) fn start(self, place: Place, cpus: Cpus) -> Result<(Process, Place), BoxError> {
        let spec = match self {
            Self::Sdk => Spec::Sdk,
            Self::Bare => Spec::Tonic { place: place.clone(), runtime: Runtime::CurrentThread },
            Self::Tonic => Spec::Tonic { place: place.clone(), runtime: Runtime::MultiThread },
        };
        let environment = match self {
            Self::Sdk => environment(&place),
            Self::Bare | Self::Tonic => Vec::new(),
        };
        let mut process = Process::role_with(&Role::Server(spec), cpus, self.allocator(), environment)?;
        let line = process.line()?;
        let bound = match (self, &place) {
            (Self::Sdk, Place::Tls { certificates, .. }) => {
                let address = fs::read_to_string(address_file(certificates.ca.clone()))?;
                place.bound(address.trim().rsplit(':').next().unwrap_or_default())?
            }
            _ => place.bound(&line)?,
        };
        Ok((process, bound))
    }
}

/// What a host would tell a plugin that it wants at `place`.
fn environment(place: &Place) -> Vec<(&'static str, PathBuf)> {
    match place {
        Place::Unix(path) => vec![(env::LISTEN, format!("unix://{}", path.display()).into())],
        Place::Tls { certificates, .. } => vec![
            (env::LISTEN, "tcp://127.0.0.1:0".into()),
            (env::ADDRESS_FILE, address_file(certificates.ca.clone())),
            (env::TLS_CERT_FILE, certificates.server.cert.clone()),
            (env::TLS_KEY_FILE, certificates.server.key.clone()),
            (env::TLS_CLIENT_CA_FILE, certificates.ca.clone()),
        ],
    }
}

fn address_file(ca: PathBuf) -> PathBuf {
    ca.with_file_name("address")
}

/// Serves until it is killed.
pub(crate) fn serve(spec: Spec) -> Result<(), BoxError> {
    match spec {
        Spec::Sdk => {
            let plugin = plugmesh_sdk::Plugin::new(NAME, "1.0.0").service(EchoServiceServer::new(Echo));
            plugin.descriptors(plugmesh_benches::DESCRIPTORS).run().map_err(Into::into)
        }
        Spec::Tonic { place, runtime } => runtime.block_on(tonic(place)),
    }
}

/// Prints a line once it listens: the port, if there is one.
async fn tonic(place: Place) -> Result<(), BoxError> {
    let service = EchoServiceServer::new(Echo);
    match place {
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
            let server = &certificates.server;
            let tls = ServerTlsConfig::new()
                .identity(Identity::from_pem(fs::read(&server.cert)?, fs::read(&server.key)?))
                .client_ca_root(Certificate::from_pem(fs::read(&certificates.ca)?));
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
