//! The plain side: tonic's `Channel` with its defaults, as its own examples write it.

use std::fs;

use hyper_util::rt::TokioIo;
use plugmesh_benches::BoxError;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::place::Place;

/// Connects.
pub(crate) async fn connect(place: &Place) -> Result<Channel, BoxError> {
    match place {
        Place::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_| {
                let path = path.clone();
                async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
            });
            Ok(Endpoint::from_static("http://[::]:50051").connect_with_connector(connector).await?)
        }
        Place::Tls { port, certificates } => {
            let client = &certificates.client;
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(fs::read(&certificates.ca)?))
                .identity(Identity::from_pem(fs::read(&client.cert)?, fs::read(&client.key)?))
                .domain_name("localhost");
            let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))?;
            Ok(endpoint.tls_config(tls)?.connect().await?)
        }
    }
}
