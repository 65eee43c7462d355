//! TLS, and who the client's certificate says it is.

use std::io;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::listen::TlsConfig;
use super::principal::Principal;

/// Longest SPIFFE ID, from its specification.
const MAX_SPIFFE_ID: usize = 2048;

/// Why a client with an accepted certificate is still not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] io::Error),
    #[error("the client presented no certificate")]
    NoCertificate,
    #[error("the client's certificate cannot be read")]
    Unreadable,
    #[error("the client's certificate has {0} SPIFFE URIs where one is needed")]
    NotOneIdentity(usize),
}

/// Accepts TLS with the configuration of this moment.
pub(super) async fn accept(
    stream: TcpStream,
    config: &TlsConfig,
) -> Result<(TlsStream<TcpStream>, Principal), TlsError> {
    let acceptor = TlsAcceptor::from(config.0.load());
    let stream = acceptor.accept(stream).await.map_err(TlsError::Handshake)?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = certificates.first().ok_or(TlsError::NoCertificate)?;
    let principal = Principal::Identity { spiffe: spiffe_id(leaf)?.into() };
    Ok((stream, principal))
}

/// The one SPIFFE URI of a certificate.
fn spiffe_id(leaf: &CertificateDer<'_>) -> Result<String, TlsError> {
    let (_, certificate) = parse_x509_certificate(leaf).map_err(|_| TlsError::Unreadable)?;
    let names = certificate.subject_alternative_name().map_err(|_| TlsError::Unreadable)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut ids = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if is_spiffe_id(uri) => Some(*uri),
        _ => None,
    });
    match (ids.next(), ids.count()) {
        (Some(id), 0) => Ok(id.to_owned()),
        (first, more) => Err(TlsError::NotOneIdentity(usize::from(first.is_some()) + more)),
    }
}

fn is_spiffe_id(uri: &str) -> bool {
    uri.starts_with("spiffe://") && uri.len() <= MAX_SPIFFE_ID && uri.bytes().all(|b| b.is_ascii_graphic())
}
