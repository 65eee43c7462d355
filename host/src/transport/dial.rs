//! From an address to bytes that flow.

use std::io;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};

use super::{Address, Io};
use crate::identity::Current;

/// How TLS is done towards an endpoint.
#[derive(Clone)]
pub struct Tls {
    /// The present configuration. It is read anew for each connection, so that certificates can be
    /// replaced while the host runs.
    pub config: Current<ClientConfig>,
    /// The name to ask for and to check; what else is checked is up to the configuration's verifier.
    pub server_name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// A connection that somebody else has opened, without TLS so far, on no runtime.
#[derive(Debug)]
pub enum Opened {
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
    /// Over TCP.
    Tcp(std::net::TcpStream),
}

/// Makes byte streams to one address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dialer {
    address: Address,
    tls: Option<Tls>,
    timeout: Duration,
}

/// Why there is no byte stream.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The system refused, or nobody listens.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: Address,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with {address} failed")]
    Tls {
        /// Where to.
        address: Address,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
    /// The address wants TLS and nothing says how.
    #[error("{0} needs certificates: name ca, cert and key under tls")]
    NoTls(Address),
    /// It took too long.
    #[error("connecting to {address} took longer than {after:?}")]
    Timeout {
        /// Where to.
        address: Address,
        /// The bound.
        after: Duration,
    },
}

impl Dialer {
    /// How long a connection may take, TLS included, unless said otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// A dialer for a Unix socket or plain TCP.
    pub fn plain(address: Address) -> Self {
        Self { address, tls: None, timeout: Self::TIMEOUT }
    }

    /// A dialer for TLS.
    pub fn tls(address: Address, tls: Tls) -> Self {
        Self { address, tls: Some(tls), timeout: Self::TIMEOUT }
    }

    /// Bounds the time that a connection may take. Default: [`Self::TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connects, or goes on with what somebody else has opened to the address. Dropping the future gives the
    /// attempt up.
    ///
    /// # Errors
    /// Nobody listens, TLS fails, or the time is over.
    pub async fn dial(&self, opened: Option<Opened>) -> Result<Io, DialError> {
        let timeout = || DialError::Timeout { address: self.address.clone(), after: self.timeout };
        tokio::time::timeout(self.timeout, self.connect(opened)).await.map_err(|_| timeout())?
    }

    async fn connect(&self, opened: Option<Opened>) -> Result<Io, DialError> {
        let refused = |source| DialError::Connect { address: self.address.clone(), source };
        let stream = match opened {
            None => match &self.address {
                Address::Unix(path) => {
                    return UnixStream::connect(path).await.map(Io::Unix).map_err(refused);
                }
                Address::Tcp(at) | Address::Tls(at) => TcpStream::connect((at.host(), at.port())).await,
            },
            Some(Opened::Unix(stream)) => return UnixStream::from_std(stream).map(Io::Unix).map_err(refused),
            Some(Opened::Tcp(stream)) => TcpStream::from_std(stream),
        };
        // Without it a call waits for the peer's delayed acknowledgement, 40 ms.
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(refused)?;
        if !matches!(self.address, Address::Tls(_)) {
            return Ok(Io::Tcp(stream));
        }
        let tls = self.tls.as_ref().ok_or_else(|| DialError::NoTls(self.address.clone()))?;
        let connector = tokio_rustls::TlsConnector::from(tls.config.load());
        let stream = connector.connect(tls.server_name.clone(), stream).await;
        stream
            .map(|stream| Io::Tls(Box::new(stream)))
            .map_err(|source| DialError::Tls { address: self.address.clone(), source })
    }
}
