//! An instance that somebody else runs.

use rustls::ClientConfig;

use super::failure::StartError;
use crate::config::{Endpoint, ServerCheck};
use crate::identity::{PeerName, TlsFiles, Watched, watch_client_config};
use crate::transport::{Address, Dialer, Tls};

/// How to reach a remote instance.
pub(super) struct Remote {
    pub(super) dialer: Dialer,
    /// Follows the certificate files for as long as it is kept.
    pub(super) certificates: Option<Watched<ClientConfig>>,
}

/// A dialer for a configured endpoint. Certificates are read now, and again whenever their files change.
pub(super) fn reach(endpoint: &Endpoint) -> Result<Remote, StartError> {
    let plain = |address| Remote { dialer: Dialer::plain(address), certificates: None };
    let (address, tls) = match endpoint {
        Endpoint::Unix(path) => return Ok(plain(Address::unix(path))),
        Endpoint::Plain(at) => {
            return Ok(plain(Address::Tcp { host: at.host().to_owned(), port: at.port() }));
        }
        Endpoint::Tls { address, tls } => (address, tls),
    };
    let peer = match &tls.check {
        ServerCheck::Address => address.host().parse::<PeerName>(),
        ServerCheck::ServerName(name) => name.parse(),
        ServerCheck::SpiffeId(id) => Ok(PeerName::Spiffe(id.clone())),
    };
    let peer = peer.map_err(|error| StartError::PeerName(error.to_string()))?;
    let server_name = peer.server_name(address.host());
    let files = TlsFiles { cert: tls.cert.clone(), key: tls.key.clone(), ca: tls.ca.clone() };
    let certificates = watch_client_config(files, peer)?;
    let tls = Tls { config: certificates.current(), server_name };
    let address = Address::Tls { host: address.host().to_owned(), port: address.port() };
    Ok(Remote { dialer: Dialer::tls(address, tls), certificates: Some(certificates) })
}
