//! TLS settings: rustls with one provider, HTTP/2 by ALPN, certificates on both sides.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::files::Credentials;
use super::reload::{WatchError, Watched};
use super::{Authority, FileError, Leaf, TlsFiles};
use crate::spiffe::{InvalidSpiffeId, SpiffeId};

mod verifier;

pub use verifier::UnexpectedIdentity;
use verifier::{Expected, PeerVerifier};

/// What ALPN calls HTTP/2.
const H2: &[u8] = b"h2";
/// And HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// With what this host presents itself to the plugins that it launched in this run.
///
/// Made once; [`Self::client_config_for_plugin`] is then cheap, and what can be shared is.
#[derive(Debug)]
pub struct HostCredentials {
    resolver: Arc<dyn ResolvesClientCert>,
    roots: Arc<RootCertStore>,
}

/// Who a remote server must prove to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// It must hold a certificate for this DNS name or IP address.
    Dns(ServerName<'static>),
    /// The only URI of its certificate must be this SPIFFE ID. DNS names do not matter.
    Spiffe(SpiffeId),
}

/// Why a text does not name a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPeerName {
    /// It begins as a SPIFFE ID and is none.
    #[error(transparent)]
    Spiffe(#[from] InvalidSpiffeId),
    /// It is neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name, an IP address nor a SPIFFE ID (spiffe://trust-domain/path)")]
    Name(String),
}

/// TLS settings could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The TLS library refused what the files or the authority hold.
    #[error("the TLS library refused the certificates: {0}")]
    Library(rustls::Error),
}

/// The cryptography of all TLS in the mesh: aws-lc-rs, which unlike others verifies the P-521 certificates
/// of go-plugin peers.
pub fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// The server name with which to call a plugin that this host launched: `localhost`.
pub fn plugin_server_name() -> ServerName<'static> {
    // The fallback is never taken, and the leaf is good for it as well.
    DnsName::try_from_str("localhost").map_or_else(|_| Ipv4Addr::LOCALHOST.into(), ServerName::DnsName)
}

impl HostCredentials {
    /// Takes the host's own leaf, from [`Authority::issue_host`].
    ///
    /// # Errors
    /// When the TLS library refuses the leaf or the authority, which would be a fault of this room.
    pub fn new(authority: &Authority, host: &Leaf) -> Result<Self, TlsError> {
        let certified = CertifiedKey::from_der(host.chain().to_vec(), host.key().clone_key(), &provider())
            .map_err(TlsError::Library)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).map_err(TlsError::Library)?;
        Ok(Self { resolver: Arc::new(SingleCertAndKey::from(certified)), roots: Arc::new(roots) })
    }

    /// Settings to call the plugin instance `expected`, from [`Leaf::spiffe_id`] of the leaf that it was
    /// given. Dial with [`plugin_server_name`].
    ///
    /// The server must chain to our authority, hold `localhost`, and have `expected` as its only URI.
    ///
    /// # Errors
    /// When the TLS library refuses the settings, which would be a fault of this room.
    pub fn client_config_for_plugin(&self, expected: SpiffeId) -> Result<Arc<ClientConfig>, TlsError> {
        let expected = Expected::NameAndSpiffe(expected);
        client_config(self.roots.clone(), self.resolver.clone(), expected).map(Arc::new)
    }
}

/// Settings to call a remote plugin with an operator's certificates. Dial with [`PeerName::server_name`].
///
/// It reads files and so blocks briefly.
///
/// # Errors
/// When a file is absent, malformed, expired or does not fit the others.
pub fn client_config_from_files(files: &TlsFiles, peer: &PeerName) -> Result<Arc<ClientConfig>, TlsError> {
    remote_client_config(files.load()?, peer).map(Arc::new)
}

/// Settings for a server that demands a client certificate which chains to `files.ca`.
///
/// It reads files and so blocks briefly. Who the client is, [`super::PeerIdentity::of_client`] tells.
///
/// # Errors
/// When a file is absent, malformed, expired or does not fit the others.
pub fn server_config_from_files(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    server_config(files.load()?).map(Arc::new)
}

/// As [`client_config_from_files`], and follows the files from then on.
///
/// # Errors
/// As there, and when the files' directories cannot be watched.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watch_client_config(files: TlsFiles, peer: PeerName) -> Result<Watched<ClientConfig>, WatchError> {
    Watched::start(files, move |credentials| remote_client_config(credentials, &peer))
}

/// As [`server_config_from_files`], and follows the files from then on.
///
/// # Errors
/// As there, and when the files' directories cannot be watched.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watch_server_config(files: TlsFiles) -> Result<Watched<ServerConfig>, WatchError> {
    Watched::start(files, server_config)
}

fn remote_client_config(credentials: Credentials, peer: &PeerName) -> Result<ClientConfig, TlsError> {
    let expected = match peer {
        PeerName::Dns(_) => Expected::Name,
        PeerName::Spiffe(id) => Expected::Spiffe(id.clone()),
    };
    client_config(credentials.roots, Arc::new(SingleCertAndKey::from(credentials.certified)), expected)
}

fn client_config(
    roots: Arc<RootCertStore>,
    resolver: Arc<dyn ResolvesClientCert>,
    expected: Expected,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = PeerVerifier::new(roots, &provider, expected);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(resolver);
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(credentials: Credentials) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(credentials.roots, provider.clone())
        .build()
        .map_err(|error| TlsError::Library(rustls::Error::General(error.to_string())))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified)));
    // HTTP/1.1 is for those who read metrics and speak nothing else.
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl PeerName {
    /// The server name to dial with: the DNS name, or `host`, the one of the address, when a SPIFFE ID is
    /// expected. Then it is a hint for whoever routes by name on the way, and nothing depends on it.
    pub fn server_name(&self, host: &str) -> ServerName<'static> {
        match self {
            Self::Dns(name) => name.clone(),
            Self::Spiffe(_) => ServerName::try_from(host.to_owned()).unwrap_or_else(|_| plugin_server_name()),
        }
    }
}

impl FromStr for PeerName {
    type Err = InvalidPeerName;

    /// A text that starts with `spiffe:` is a SPIFFE ID, any other a DNS name or an IP address.
    fn from_str(text: &str) -> Result<Self, InvalidPeerName> {
        if text.starts_with("spiffe:") {
            return Ok(Self::Spiffe(text.parse()?));
        }
        ServerName::try_from(text.to_owned())
            .map(Self::Dns)
            .map_err(|_| InvalidPeerName::Name(text.chars().take(100).collect()))
    }
}
