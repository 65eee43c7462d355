//! Where the gateway listens.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::ServerConfig;
use tokio::net::TcpListener;

use super::limits::Limits;
use super::unix::{self, OwnedSocket};
use crate::identity::Current;

/// The protocol a TLS client must choose.
const ALPN_H2: &[u8] = b"h2";

/// The host's own listening side, before it has sockets.
#[derive(Debug)]
pub struct Gateway;

/// What to listen on, and what to grant.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Every address. At least one.
    pub listen: Vec<Listen>,
    /// What those who connect are granted.
    pub limits: Limits,
    /// SPIFFE IDs that may call `AdminService` over TLS.
    pub admin: Vec<String>,
    /// A TCP address for metrics and probes alone, in clear, for anybody who can reach it.
    pub pages: Option<SocketAddr>,
}

/// One address to listen on.
#[derive(Clone)]
pub enum Listen {
    /// A Unix socket, mode 0600, for the user who owns the host and for root. A stale one is replaced.
    Unix {
        /// Its path, in a directory that only the owner can write.
        path: PathBuf,
    },
    /// TCP with TLS, where each client presents a certificate with one SPIFFE URI.
    Tls {
        /// Port 0: one that is free.
        address: SocketAddr,
        /// Must require client certificates and offer ALPN `h2`. A later version holds for connections accepted
        /// later.
        tls: Current<ServerConfig>,
    },
    /// TCP in clear, for anybody who can reach it. Logged as a warning.
    InsecureTcp {
        /// Port 0: one that is free.
        address: SocketAddr,
    },
}

/// An address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP with TLS, at the port that was bound.
    Tls(SocketAddr),
    /// TCP in clear, at the port that was bound.
    InsecureTcp(SocketAddr),
}

/// Sockets that listen and are not yet answered: connections wait in the kernel's queue.
#[derive(Debug)]
pub struct Bound {
    pub(super) sockets: Vec<Socket>,
    pub(super) limits: Limits,
    pub(super) admin: Vec<String>,
    addresses: Vec<Address>,
    pages_address: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix(OwnedSocket),
    Tls(TcpListener, TlsConfig),
    Insecure(TcpListener),
    Pages(TcpListener),
}

#[derive(Clone)]
pub(super) struct TlsConfig(pub(super) Current<ServerConfig>);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Nothing to listen on.
    #[error("the gateway has no address to listen on")]
    NoAddress,
    /// The operating system refused, or the path is not safe.
    #[error("cannot listen on {address}: {source}")]
    Socket {
        /// Where.
        address: Address,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A gRPC client would refuse the connection.
    #[error(
        "the TLS configuration of {address} does not offer ALPN protocol h2, without which no gRPC client connects"
    )]
    NoAlpn {
        /// Where.
        address: Address,
    },
}

impl Gateway {
    /// Takes every socket, or none.
    ///
    /// Must run inside a tokio runtime with its I/O driver.
    pub fn bind(config: Config) -> Result<Bound, BindError> {
        if config.listen.is_empty() {
            return Err(BindError::NoAddress);
        }
        let bound: Result<Vec<_>, _> = config.listen.into_iter().map(bind_one).collect();
        let (mut sockets, addresses): (Vec<_>, _) = bound?.into_iter().unzip();
        let mut pages_address = None;
        if let Some(address) = config.pages {
            let (listener, bound) = bind_tcp(address, Address::InsecureTcp)?;
            sockets.push(Socket::Pages(listener));
            pages_address = Some(bound);
        }
        Ok(Bound { sockets, addresses, pages_address, limits: config.limits, admin: config.admin })
    }
}

impl Bound {
    /// Where it listens, in the order of the configuration, with the ports that were bound.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where metrics and probes have an address of their own, with the port that was bound.
    pub fn pages_address(&self) -> Option<SocketAddr> {
        self.pages_address
    }
}

fn bind_one(listen: Listen) -> Result<(Socket, Address), BindError> {
    match listen {
        Listen::Unix { path } => {
            let address = Address::Unix(path.clone());
            match unix::bind(&path) {
                Ok(socket) => Ok((Socket::Unix(socket), address)),
                Err(source) => Err(BindError::Socket { address, source }),
            }
        }
        Listen::Tls { address, tls } => {
            if !tls.load().alpn_protocols.iter().any(|protocol| protocol == ALPN_H2) {
                return Err(BindError::NoAlpn { address: Address::Tls(address) });
            }
            let (listener, bound) = bind_tcp(address, Address::Tls)?;
            Ok((Socket::Tls(listener, TlsConfig(tls)), Address::Tls(bound)))
        }
        Listen::InsecureTcp { address } => {
            let (listener, bound) = bind_tcp(address, Address::InsecureTcp)?;
            tracing::warn!(address = %bound, "listening without TLS: anybody who reaches this address can call every plugin");
            Ok((Socket::Insecure(listener), Address::InsecureTcp(bound)))
        }
    }
}

fn bind_tcp(
    address: SocketAddr,
    kind: fn(SocketAddr) -> Address,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, bound))
    };
    bind().map_err(|source| BindError::Socket { address: kind(address), source })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tls(address) => write!(f, "https://{address}"),
            Self::InsecureTcp(address) => write!(f, "http://{address}"),
        }
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path } => f.debug_struct("Unix").field("path", path).finish(),
            Self::Tls { address, .. } => {
                f.debug_struct("Tls").field("address", address).finish_non_exhaustive()
            }
            Self::InsecureTcp { address } => f.debug_struct("InsecureTcp").field("address", address).finish(),
        }
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConfig")
    }
}
