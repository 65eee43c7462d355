//! Where an endpoint listens.

use std::fmt;
use std::path::PathBuf;

use crate::config::HostPort;

/// Where an endpoint listens, as shown to people. What it may be and what TLS needs is decided by configuration, see
/// [`crate::config::Endpoint`], or by who launched it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plain TCP.
    Tcp(HostPort),
    /// TLS over TCP.
    Tls(HostPort),
}

impl Address {
    /// Whether it is on this host, as far as the address tells.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(at) | Self::Tls(at) => at.is_loopback(),
        }
    }

    /// The path of a Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(at) => write!(f, "http://{at}"),
            Self::Tls(at) => write!(f, "https://{at}"),
        }
    }
}
