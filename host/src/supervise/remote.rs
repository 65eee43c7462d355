//! An instance that somebody else runs.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::ClientConfig;

use super::failure::StartError;
use crate::config::{Endpoint, ServerCheck};
use crate::identity::{PeerName, TlsFiles, Watched, watch_client_config};
use crate::transport::{Address, Dialer, Tls};

/// How to reach a remote instance.
pub(super) struct Remote {
    pub(super) dialer: Dialer,
    /// Follows the certificate files for as long as it is kept.
    pub(super) certificates: Option<Arc<Watched<ClientConfig>>>,
}

/// Certificate files that are in use. Endpoints with the same files share one watch of them and what was made from
/// them: of watches the system grants few, and keys and trust anchors are most of what an idle endpoint would hold.
#[derive(Debug, Default)]
pub(super) struct Certificates(Mutex<Vec<InUse>>);

#[derive(Debug)]
struct InUse {
    files: TlsFiles,
    peer: PeerName,
    config: Weak<Watched<ClientConfig>>,
}

impl Certificates {
    fn follow(&self, files: TlsFiles, peer: PeerName) -> Result<Arc<Watched<ClientConfig>>, StartError> {
        let mut in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|known| known.config.strong_count() > 0);
        let same = in_use.iter().find(|known| known.files == files && known.peer == peer);
        if let Some(config) = same.and_then(|known| known.config.upgrade()) {
            return Ok(config);
        }
        let config = Arc::new(watch_client_config(files.clone(), peer.clone())?);
        in_use.push(InUse { files, peer, config: Arc::downgrade(&config) });
        Ok(config)
    }
}

/// A dialer for a configured endpoint. Certificates are read now, and again whenever their files change.
pub(super) fn reach(endpoint: &Endpoint, certificates: &Certificates) -> Result<Remote, StartError> {
    let plain = |address| Remote { dialer: Dialer::plain(address), certificates: None };
    let (address, tls) = match endpoint {
        Endpoint::Unix(path) => return Ok(plain(Address::unix(path))),
        Endpoint::Plain(at) => return Ok(plain(Address::Tcp(at.clone()))),
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
    let certificates = certificates.follow(files, peer)?;
    let tls = Tls { config: certificates.current(), server_name };
    let address = Address::Tls(address.clone());
    Ok(Remote { dialer: Dialer::tls(address, tls), certificates: Some(certificates) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Authority;

    #[tokio::test]
    async fn endpoints_with_the_same_files_share_them_while_they_last() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::generate("example.org".parse().unwrap()).unwrap();
        let leaf = authority.issue_host("h").unwrap();
        let write = |name: &str, pem: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let files = TlsFiles {
            cert: write("cert.pem", leaf.chain_pem()),
            key: write("key.pem", leaf.key_pem()),
            ca: write("ca.pem", authority.ca_pem()),
        };
        let certificates = Certificates::default();
        let follow = |peer: &str| certificates.follow(files.clone(), peer.parse().unwrap()).unwrap();
        let (one, same, other) = (follow("a.example"), follow("a.example"), follow("b.example"));
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other));
        drop((one, same, other));
        follow("c.example");
        assert_eq!(certificates.0.lock().unwrap().len(), 1, "what nobody uses is forgotten");
    }
}
