//! The connection to a host.

use std::io;
use std::path::Path;

use hyper_util::rt::TokioIo;
use plugmesh::admin::v1::admin_service_client::AdminServiceClient;
use plugmesh::event::v1::event_bus_service_client::EventBusServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::address::HostAddress;
use super::args::Global;
use super::error::CliError;
use super::place;

/// Largest answer of a host that is read: it lists all its plugins in one, about 1 KiB each, and a page of dead
/// letters with their events, of up to 1 MiB each unless its configuration says more.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// A connected host.
#[derive(Debug)]
pub(crate) struct Host {
    /// As the user gave it, or the default.
    pub(crate) address: HostAddress,
    /// The connection.
    pub(crate) channel: Channel,
}

impl Host {
    /// Connects to the host that the options name.
    pub(crate) async fn connect(global: &Global) -> Result<Self, CliError> {
        let address = match &global.host {
            Some(address) => address.clone(),
            None => place::default_address()?,
        };
        let channel = match &address {
            HostAddress::Unix(path) => dial(path.clone()).await,
            HostAddress::Http(uri) => Endpoint::from(uri.clone()).tcp_nodelay(true).connect().await,
            HostAddress::Https(uri) => {
                let tls = tls(global, &address)?;
                let endpoint = Endpoint::from(uri.clone()).tcp_nodelay(true).tls_config(tls);
                match endpoint {
                    Ok(endpoint) => endpoint.connect().await,
                    Err(error) => Err(error),
                }
            }
        };
        match channel {
            Ok(channel) => Ok(Self { address, channel }),
            Err(source) => Err(why_not(address, source)),
        }
    }

    /// The client of what operators can do.
    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// The client of its bus of events.
    pub(crate) fn events(&self) -> EventBusServiceClient<Channel> {
        EventBusServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }
}

async fn dial(path: std::path::PathBuf) -> Result<Channel, tonic::transport::Error> {
    // The name is sent as `:authority` and means nothing to a Unix socket.
    Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
}

fn tls(global: &Global, address: &HostAddress) -> Result<ClientTlsConfig, CliError> {
    let missing = |missing| CliError::TlsMissing { address: address.clone(), missing };
    let ca = global.ca.as_deref().ok_or_else(|| missing("the certificate authority of the host"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    match (global.cert.as_deref(), global.key.as_deref()) {
        (Some(cert), Some(key)) => Ok(tls.identity(Identity::from_pem(read(cert)?, read(key)?))),
        (None, None) => Ok(tls),
        (Some(_), None) => Err(missing("the key of the certificate")),
        (None, Some(_)) => Err(missing("the certificate of the key")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|source| CliError::TlsFile { path: path.to_owned(), source })
}

/// Tells a host that is not there from one that does not understand us.
fn why_not(address: HostAddress, error: tonic::transport::Error) -> CliError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
            if matches!(io.kind(), NotFound | ConnectionRefused | PermissionDenied) {
                // The kind alone loses the system's own words.
                let source = io.raw_os_error().map_or_else(|| io.kind().into(), io::Error::from_raw_os_error);
                return CliError::NoHost { address, source };
            }
        }
        cause = current.source();
    }
    CliError::Connect { address, source: error }
}
