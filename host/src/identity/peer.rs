//! Who is at the other end of a connection.

use std::fmt;
use std::io;

use rustls::pki_types::CertificateDer;
use tokio::net::UnixStream;
use tokio_rustls::server::TlsStream;

use super::certificate::{self, CertificateError};
use crate::spiffe::SpiffeId;

/// Longest name taken from a certificate without a SPIFFE ID, in bytes: what a DNS name allows.
const MAX_NAME: usize = 253;

/// Who a verified client certificate names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerIdentity {
    /// Its only URI, a SPIFFE ID.
    Spiffe(SpiffeId),
    /// The subject's common name, from a certificate without a SPIFFE ID.
    CommonName(String),
    /// The first DNS name, from a certificate with neither of the above.
    Dns(String),
}

/// A TLS connection whose client has no certificate, or one that names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPeerCertificate {
    /// The client presented none, or the handshake has not ended.
    #[error("the client presented no certificate")]
    Absent,
    /// It names nobody.
    #[error(transparent)]
    Unusable(#[from] CertificateError),
}

/// What the kernel says about the process that opened the other end of a Unix connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its effective user when it connected.
    pub uid: u32,
    /// Its effective group when it connected.
    pub gid: u32,
    /// Its process, where the system tells. It may have ended since, and the number been given to another.
    pub pid: Option<i32>,
}

/// A Unix connection from another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "connection from user id {theirs}, but this host serves its own user, {ours}, only; connect as that user"
)]
pub struct ForeignUser {
    /// Who connected.
    pub theirs: u32,
    /// Who this host runs as.
    pub ours: u32,
}

impl PeerIdentity {
    /// The identity of the client of a TLS connection that a server with required client certificates took,
    /// such as one of [`super::server_config_from_files`].
    ///
    /// # Errors
    /// When there is no client certificate, or it names nobody.
    pub fn of_client<S>(stream: &TlsStream<S>) -> Result<Self, NoPeerCertificate> {
        let (_, connection) = stream.get_ref();
        let leaf = connection.peer_certificates().and_then(<[_]>::first).ok_or(NoPeerCertificate::Absent)?;
        Ok(Self::of_leaf(leaf)?)
    }

    /// The identity in a certificate that was verified before.
    ///
    /// # Errors
    /// When it is malformed, has a SPIFFE ID beside another URI, or no name that can serve. A common or DNS
    /// name does not serve when it is long, has other than printable ASCII characters, or looks like a URI
    /// and so could pass for a SPIFFE ID.
    pub fn of_leaf(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let parsed = certificate::parse(leaf)?;
        let uris = certificate::uris(&parsed)?;
        if uris.iter().any(|uri| uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))) {
            return SpiffeId::of_leaf(leaf).map(Self::Spiffe);
        }
        let common = parsed.subject().iter_common_name().find_map(|name| name.as_str().ok());
        if let Some(name) = common.filter(|name| serves_as_name(name)) {
            return Ok(Self::CommonName(name.to_owned()));
        }
        let dns = certificate::dns_names(&parsed)?;
        let name = dns.into_iter().find(|name| serves_as_name(name)).ok_or(CertificateError::Nameless)?;
        Ok(Self::Dns(name.to_owned()))
    }

    /// The text: a SPIFFE ID, or the name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Spiffe(id) => id.as_str(),
            Self::CommonName(name) | Self::Dns(name) => name,
        }
    }
}

fn serves_as_name(name: &str) -> bool {
    let made_well = name.bytes().all(|b| matches!(b, b' '..=b'~'));
    !name.trim().is_empty() && name.len() <= MAX_NAME && made_well && !name.contains("://")
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl PeerCredentials {
    /// Asks the kernel who opened the other end.
    ///
    /// # Errors
    /// What the kernel answers, such as for a connection that is gone.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        Ok(Self { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() })
    }

    /// Checks that the peer runs as the user of this process. Root is no exception: it can become that user.
    ///
    /// # Errors
    /// When it runs as another user.
    pub fn check_own_user(&self) -> Result<(), ForeignUser> {
        let ours = rustix::process::geteuid().as_raw();
        if self.uid == ours { Ok(()) } else { Err(ForeignUser { theirs: self.uid, ours }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_of_our_own_user_is_known_and_another_refused() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = PeerCredentials::of(&ours).unwrap();
        assert_eq!(peer.pid, i32::try_from(std::process::id()).ok());
        assert_eq!(peer.check_own_user(), Ok(()));
        let other = PeerCredentials { uid: peer.uid + 1, ..peer };
        let refused = other.check_own_user().unwrap_err();
        assert_eq!(refused, ForeignUser { theirs: peer.uid + 1, ours: peer.uid });
        assert!(refused.to_string().contains("connect as that user"), "{refused}");
    }
}
