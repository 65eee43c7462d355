//! The mesh side: the whole path of a call through the host.

use std::sync::Arc;

use arc_swap::ArcSwap;
use plugmesh_benches::BoxError;
use plugmesh_benches::tls::Certificates;
use plugmesh_host::name::{InstanceId, InstanceName, PluginName};
use plugmesh_host::route::{Availability, Channel, Endpoint, Route, RouteSettings, Router};
use plugmesh_host::transport::{Address, Dialer, InProcess, Lane, Pool, Settings, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_util::task::TaskTracker;

use crate::place::Place;

/// Service that is routed.
const SERVICE: &str = "plugmesh.bench.v1.EchoService";

/// A mesh that knows one plugin.
#[derive(Debug)]
pub(crate) struct Mesh {
    router: Router,
    route: Arc<Route>,
    tasks: TaskTracker,
}

impl Mesh {
    pub(crate) fn new() -> Result<Self, BoxError> {
        let plugin: PluginName = "echo".parse()?;
        let route = Route::new(plugin, RouteSettings::default());
        let router = Router::new();
        router.insert(route.clone(), [SERVICE.to_owned()]);
        Ok(Self { router, route, tasks: TaskTracker::new() })
    }

    /// What a generated client is given.
    pub(crate) fn channel(&self) -> Channel {
        self.router.channel()
    }

    /// Adds an instance at `place`, with `connections` at most.
    pub(crate) async fn dial(&self, place: &Place, connections: usize) -> Result<Arc<Endpoint>, BoxError> {
        let dialer = match place {
            Place::Unix(path) => Dialer::plain(Address::unix(path)),
            Place::Tls { port, certificates } => {
                let address = Address::Tls { host: "127.0.0.1".to_owned(), port: *port };
                let config = Arc::new(ArcSwap::from_pointee(tls(certificates)?));
                Dialer::tls(address, Tls { config, server_name: ServerName::try_from("localhost")? })
            }
        };
        let runtime = tokio::runtime::Handle::current();
        let pool = Pool::new(dialer, connections, Settings::default(), runtime, self.tasks.clone());
        pool.connect().await?;
        Ok(self.insert(Lane::Http2(pool)))
    }

    /// Adds an instance in this process.
    pub(crate) fn take(&self, service: InProcess) {
        self.insert(Lane::InProcess(service));
    }

    fn insert(&self, lane: Lane) -> Arc<Endpoint> {
        let ordinal = u32::try_from(self.route.endpoints().len()).unwrap_or(u32::MAX);
        let name = InstanceName::new(self.route.plugin().clone(), ordinal);
        let endpoint = Endpoint::new(name, InstanceId::random(), 1, lane);
        self.route.insert(endpoint.clone());
        self.route.set_availability(&endpoint, Availability::Ready);
        endpoint
    }
}

fn tls(certificates: &Certificates) -> Result<rustls::ClientConfig, BoxError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates.ca.as_bytes())?)?;
    let cert = CertificateDer::from_pem_slice(certificates.client.cert.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(certificates.client.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![cert], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
