//! Where a plugin that runs elsewhere answers, and how it is told from an impostor.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::decode::{Decoder, Section, parsed, path};
use super::yaml::Node;
use crate::spiffe::SpiffeId;

/// Address of one remote endpoint. Plaintext reaches this machine only, and TLS has what it needs to check
/// the other side: there is no way to write the rest down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket, `unix:///path`.
    Unix(PathBuf),
    /// Plaintext on a loopback address, `http://127.0.0.1:port`.
    Plain(HostPort),
    /// Mutual TLS, `https://host:port`.
    Tls {
        /// Where.
        address: HostPort,
        /// With what.
        tls: Arc<ClientTls>,
    },
}

/// A host name or IP address, and a port that is not 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// Files for dialing with mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM certificates that the server must chain to.
    pub ca: PathBuf,
    /// PEM certificate chain to present.
    pub cert: PathBuf,
    /// PEM private key of `cert`.
    pub key: PathBuf,
    /// Whom the server's certificate must name.
    pub check: ServerCheck,
}

/// Whom a server's certificate must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerCheck {
    /// The host that is dialed.
    Address,
    /// This DNS name, whatever is dialed.
    ServerName(String),
    /// This SPIFFE ID.
    SpiffeId(SpiffeId),
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// No scheme that is known.
    #[error("not an endpoint: write unix:///path, http://127.0.0.1:PORT or https://HOST:PORT")]
    Scheme,
    /// A Unix path that is not absolute.
    #[error("the socket path must be absolute, as in unix:///run/plugin.sock")]
    RelativePath,
    /// Not `host:port`.
    #[error("not HOST:PORT with a port from 1 to 65535, and nothing behind it")]
    Address,
    /// Plaintext to another machine.
    #[error("plaintext is taken on a loopback address only, use https:// with tls")]
    Plaintext,
    /// `https` without certificates.
    #[error("https:// needs tls with ca, cert and key")]
    NoTls,
}

impl HostPort {
    /// Host name or address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port, not 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it stays on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for HostPort {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidEndpoint::Address)?;
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port =
            port.parse::<u16>().ok().filter(|port| *port > 0 && digits).ok_or(InvalidEndpoint::Address)?;
        let name = |host: &str| {
            let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            (1..=253).contains(&host.len()) && host.bytes().all(good)
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            None if name(host) => host,
            _ => return Err(InvalidEndpoint::Address),
        };
        Ok(Self { host: host.into(), port })
    }
}

impl From<SocketAddr> for HostPort {
    /// Of a socket that is bound or connected, whose port is not 0.
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Endpoint {
    /// Reads an endpoint as it is written in a file or on a command line.
    ///
    /// # Errors
    ///
    /// When it is none, is plaintext to another machine, or is `https` and `tls` is none.
    pub fn parse(text: &str, tls: Option<&Arc<ClientTls>>) -> Result<Self, InvalidEndpoint> {
        // A trailing slash is how URL libraries print an empty path.
        let address = |rest: &str| rest.strip_suffix('/').unwrap_or(rest).parse::<HostPort>();
        match text.split_once(':') {
            Some(("unix", path)) => {
                let path = Path::new(path.strip_prefix("//").unwrap_or(path));
                if path.is_absolute() {
                    Ok(Self::Unix(path.into()))
                } else {
                    Err(InvalidEndpoint::RelativePath)
                }
            }
            Some(("http", rest)) => {
                let address = address(rest.strip_prefix("//").ok_or(InvalidEndpoint::Scheme)?)?;
                if address.is_loopback() { Ok(Self::Plain(address)) } else { Err(InvalidEndpoint::Plaintext) }
            }
            Some(("https", rest)) => {
                let address = address(rest.strip_prefix("//").ok_or(InvalidEndpoint::Scheme)?)?;
                let tls = tls.ok_or(InvalidEndpoint::NoTls)?.clone();
                Ok(Self::Tls { address, tls })
            }
            _ => Err(InvalidEndpoint::Scheme),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Plain(address) => write!(f, "http://{address}"),
            Self::Tls { address, .. } => write!(f, "https://{address}"),
        }
    }
}

/// Reads `tls:` of a remote plugin.
pub(super) fn client_tls(d: &mut Decoder<'_>, node: &Node) -> Option<ClientTls> {
    let mut section = Section::open(d, node)?;
    let ca = section.required(d, "ca", path);
    let cert = section.required(d, "cert", path);
    let key = section.required(d, "key", path);
    let server_name = section.optional(d, "server_name", |d, node| {
        let name = super::decode::string(d, node)?;
        match rustls::pki_types::DnsName::try_from(name.as_str()) {
            Ok(_) => Some(name),
            Err(_) => d.refuse(node, "not a DNS name"),
        }
    });
    let spiffe_id = section.optional(d, "spiffe_id", parsed::<SpiffeId>);
    if section.has("server_name")
        && let Some(at) = section.key_position("spiffe_id").filter(|_| section.has("spiffe_id"))
    {
        d.fault(at, "server_name and spiffe_id are both given", Some("keep one of them".into()));
    }
    section.finish(d);
    let check = match (spiffe_id, server_name) {
        (Some(id), _) => ServerCheck::SpiffeId(id),
        (None, Some(name)) => ServerCheck::ServerName(name),
        (None, None) => ServerCheck::Address,
    };
    Some(ClientTls { ca: ca?, cert: cert?, key: key?, check })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written() {
        let files = ["ca", "cert", "key"].map(PathBuf::from);
        let [ca, cert, key] = files;
        let tls = Arc::new(ClientTls { ca, cert, key, check: ServerCheck::Address });
        for text in [
            "unix:///run/a.sock",
            "http://127.0.0.1:80",
            "http://[::1]:80",
            "http://localhost:1",
            "https://a.b:443",
        ] {
            assert_eq!(Endpoint::parse(text, Some(&tls)).unwrap().to_string(), text);
        }
        for (bad, why) in [
            ("", InvalidEndpoint::Scheme),
            ("127.0.0.1:80", InvalidEndpoint::Scheme),
            ("unix://run/a.sock", InvalidEndpoint::RelativePath),
            ("http://10.0.0.1:80", InvalidEndpoint::Plaintext),
            ("http://127.0.0.1", InvalidEndpoint::Address),
            ("http://127.0.0.1:0", InvalidEndpoint::Address),
            ("http://127.0.0.1:+80", InvalidEndpoint::Address),
            ("https://a:443/path", InvalidEndpoint::Address),
            ("https://u@a:443", InvalidEndpoint::Address),
            ("https://::1:443", InvalidEndpoint::Address),
        ] {
            assert_eq!(Endpoint::parse(bad, Some(&tls)), Err(why), "{bad}");
        }
        assert_eq!(Endpoint::parse("https://a:443", None), Err(InvalidEndpoint::NoTls));
    }
}
