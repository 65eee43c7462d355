//! One gateway: its address, its certificates, and the connection to it.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use plugmesh::event::frame::HTTP2_FRAME;
use plugmesh::plugin::v1::Callback;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::BoxError;

/// A gateway on the same machine answers at once; one elsewhere within a few round trips.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A gateway and the connection to it, which is opened by the first call and again after a break.
pub(crate) struct Connection {
    callback: Callback,
    token: Option<HeaderValue>,
    channel: OnceLock<Result<Channel, String>>,
}

impl Connection {
    pub(crate) fn new(callback: Callback) -> Self {
        let token =
            HeaderValue::from_str(&callback.token).ok().filter(|token| !token.is_empty()).map(|mut token| {
                token.set_sensitive(true);
                token
            });
        Self { callback, token, channel: OnceLock::new() }
    }

    pub(crate) fn is_to(&self, callback: &Callback) -> bool {
        self.callback == *callback
    }

    pub(crate) fn token(&self) -> Option<&HeaderValue> {
        self.token.as_ref()
    }

    /// The channel. Must be called within a tokio runtime, which drives it.
    pub(crate) fn channel(&self) -> Result<Channel, Status> {
        let channel = self.channel.get_or_init(|| open(&self.callback).map_err(|error| error.to_string()));
        channel.clone().map_err(|reason| {
            let address = &self.callback.address;
            Status::unavailable(format!("the gateway {address:?} cannot be called: {reason}"))
        })
    }
}

// By hand: the callback holds the token, which must not reach a log.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.callback.address).finish_non_exhaustive()
    }
}

fn open(callback: &Callback) -> Result<Channel, BoxError> {
    if let Some(path) = callback.address.strip_prefix("unix://") {
        let path: Arc<str> = path.into();
        let connector = tower::service_fn(move |_: Uri| {
            let path = Arc::clone(&path);
            async move { UnixStream::connect(&*path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://plugmesh")
            .connect_timeout(CONNECT_TIMEOUT)
            .max_frame_size(HTTP2_FRAME);
        return Ok(endpoint.connect_with_connector_lazy(connector));
    }
    let uri: Uri = callback.address.parse()?;
    // The token must not travel in the clear.
    if uri.scheme_str() != Some("https") {
        return Err("use unix:///path or https://host:port".into());
    }
    let host = uri.host().ok_or("it names no host")?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.clone())?;
    let tls = TlsConnector::from(Arc::new(client_config(&callback.ca_certificates_pem)?));
    let connector = tower::service_fn(move |_: Uri| {
        let (host, name, tls) = (host.clone(), name.clone(), tls.clone());
        async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            io::Result::Ok(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    // Plain `http` in the eyes of tonic: the connector brings the TLS.
    let authority = uri.authority().ok_or("it names no host")?;
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))?.connect_timeout(CONNECT_TIMEOUT);
    Ok(endpoint.origin(uri).connect_with_connector_lazy(connector))
}

fn client_config(ca_pem: &str) -> Result<rustls::ClientConfig, BoxError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err("the handshake brought no CA certificates for it".into());
    }
    let mut config = rustls::ClientConfig::builder_with_provider(crate::listen::tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
