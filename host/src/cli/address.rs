//! Addresses of hosts and plugins, as people type them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::Uri;

/// Where a gateway or a plugin listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plaintext HTTP/2, on this machine only.
    Http(Uri),
    /// TLS.
    Https(Uri),
}

/// Why a text is no address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("an address is empty; say unix:///path, http://127.0.0.1:port or https://host:port")]
    Empty,
    #[error(
        "{0:?} has a scheme that is not known; say unix:///path, http://127.0.0.1:port or https://host:port"
    )]
    Scheme(String),
    #[error("{0:?} needs an absolute path, as in unix:///run/mesh.sock")]
    RelativePath(String),
    #[error("{0:?} needs a host and a port and nothing behind them, as in https://mesh.example:7443")]
    Authority(String),
    #[error(
        "{0:?} would cross the network in plaintext; use https, or an address of this machine such as 127.0.0.1"
    )]
    Plaintext(String),
}

impl HostAddress {
    /// The socket's path, when it is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Http(_) | Self::Https(_) => None,
        }
    }

    /// The same address with a relative socket path taken from the directory of this process, for a
    /// reader that runs in another one.
    pub(crate) fn absolute(&self) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
            other => other.clone(),
        }
    }
}

impl FromStr for HostAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            // `unix:/path` is how gRPC libraries spell it, `unix:///path` how everybody else does.
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(AddressError::RelativePath(text.to_owned()))
            };
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::Unix(text.into()));
        };
        let authority = || AddressError::Authority(text.to_owned());
        match scheme {
            "http" | "https" => {
                let uri: Uri = text.parse().map_err(|_| authority())?;
                if uri.port_u16().is_none() || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
                    return Err(authority());
                }
                match scheme {
                    "https" => Ok(Self::Https(uri)),
                    _ if is_loopback(uri.host().unwrap_or_default()) => Ok(Self::Http(uri)),
                    _ => Err(AddressError::Plaintext(text.to_owned())),
                }
            }
            _ => Err(AddressError::Scheme(text.to_owned())),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            // A `Uri` always prints a path.
            Self::Http(uri) | Self::Https(uri) => f.write_str(uri.to_string().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, AddressError> {
        text.parse::<HostAddress>().map(|address| address.to_string())
    }

    #[test]
    fn every_form_is_understood() {
        assert_eq!(parse("unix:///run/a.sock").unwrap(), "unix:///run/a.sock");
        assert_eq!(parse("unix:/run/a.sock").unwrap(), "unix:///run/a.sock");
        assert_eq!("a.sock".parse(), Ok(HostAddress::Unix("a.sock".into())));
        assert_eq!(parse("http://127.0.0.1:80").unwrap(), "http://127.0.0.1:80");
        assert_eq!(parse("http://[::1]:80/").unwrap(), "http://[::1]:80");
        assert_eq!(parse("http://localhost:80").unwrap(), "http://localhost:80");
        assert_eq!(parse("https://mesh.example:7443").unwrap(), "https://mesh.example:7443");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let text = |it: &str| it.to_owned();
        assert_eq!(parse(""), Err(AddressError::Empty));
        assert_eq!(parse("unix://a"), Err(AddressError::RelativePath(text("unix://a"))));
        assert_eq!(parse("tcp://a:1"), Err(AddressError::Scheme(text("tcp://a:1"))));
        assert_eq!(parse("https://a"), Err(AddressError::Authority(text("https://a"))));
        assert_eq!(parse("https://a:1/b"), Err(AddressError::Authority(text("https://a:1/b"))));
        assert_eq!(parse("http://10.0.0.1:1"), Err(AddressError::Plaintext(text("http://10.0.0.1:1"))));
    }
}
