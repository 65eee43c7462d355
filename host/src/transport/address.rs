//! Where an endpoint listens.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where an endpoint listens, as written in configuration and shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `unix:///absolute/path`: a Unix socket.
    Unix(PathBuf),
    /// `http://host:port`: plain TCP.
    Tcp {
        /// Host name or IP address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// `https://host:port`: TLS over TCP.
    Tls {
        /// Host name or IP address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an address ({why}): write unix:///absolute/path, http://host:port or https://host:port"
)]
pub struct InvalidAddress {
    text: String,
    why: &'static str,
}

impl Address {
    /// The path of a Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into())
    }

    /// The path, when this is a Unix socket.
    pub fn as_unix(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp { .. } | Self::Tls { .. } => None,
        }
    }

    /// Whether only processes on this machine can be there: a Unix socket, or a loopback host.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } | Self::Tls { host, .. } => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |why| InvalidAddress { text: text.chars().take(256).collect(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            // Both gRPC's `unix:///path` and its short form `unix:/path` mean an absolute path.
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(invalid("the path is not absolute")),
            };
        }
        let (secure, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(invalid("unknown scheme")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| invalid("the port is missing"))?;
        let port = port.parse().map_err(|_| invalid("the port is not a number below 65536"))?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let host_is_sound = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
        if !host_is_sound {
            return Err(invalid("the host is not a name or an IP address"));
        }
        let host = host.to_owned();
        Ok(if secure { Self::Tls { host, port } } else { Self::Tcp { host, port } })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => ("http", host, port),
            Self::Tls { host, port } => ("https", host, port),
        };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in
            ["unix:///run/a.sock", "http://127.0.0.1:80", "https://plugins.test:7443", "https://[::1]:1"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("unix:/a".parse::<Address>().unwrap(), Address::unix("/a"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("unix://relative", "not absolute"),
            ("ftp://a:1", "unknown scheme"),
            ("/run/a.sock", "unknown scheme"),
            ("http://a", "port is missing"),
            ("http://a:70000", "below 65536"),
            ("http://:80", "not a name"),
            ("http://a b:80", "not a name"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn knows_what_is_local() {
        for (text, local) in [
            ("unix:///a", true),
            ("http://127.0.0.9:1", true),
            ("https://[::1]:1", true),
            ("http://10.0.0.1:1", false),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().is_local(), local, "{text}");
        }
    }
}
