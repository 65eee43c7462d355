//! Who is who: SPIFFE IDs, the certificates of a run, TLS settings, peer credentials.
//!
//! - [`SpiffeId`](crate::spiffe::SpiffeId) names a host or an instance; each certificate of the mesh carries exactly one.
//! - [`Authority`] is the host's own certificate authority. It lives in memory and ends with the run, and
//!   issues a [`Leaf`] for the host and one for each launch of a plugin.
//! - [`HostCredentials`] makes the TLS settings with which this host calls a plugin that it launched.
//! - [`TlsFiles`] are certificates from an operator: for remote plugins and for the gateway. [`Watched`]
//!   follows them as they are renewed.
//! - [`PeerIdentity`] and [`PeerCredentials`] say who is at the other end of a TLS or a Unix connection.
//!
//! All TLS here is rustls over one provider, [`provider`]. Connections are never resumed: a resumed one
//! would skip the check of certificates, and TLS 1.3 saves no round trip by it.

mod authority;
mod certificate;
mod files;
mod leaf;
mod peer;
mod reload;
#[cfg(test)]
mod tests;
mod tls;

pub use authority::{Authority, AuthorityError, CLOCK_SKEW, LEAF_VALIDITY};
pub use certificate::CertificateError;
pub use files::{FileError, FileProblem, MAX_TLS_FILE, TlsFiles};
pub use leaf::{Leaf, WriteError};
pub use peer::{ForeignUser, NoPeerCertificate, PeerCredentials, PeerIdentity};
pub use reload::{Current, WatchError, Watched};
pub use tls::{
    HostCredentials, InvalidPeerName, PeerName, TlsError, UnexpectedIdentity, client_config_from_files,
    plugin_server_name, provider, server_config_from_files, watch_client_config, watch_server_config,
};
