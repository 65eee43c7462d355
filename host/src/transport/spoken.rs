//! What a peer speaks that did not come up as HTTP/2: asked only once something has failed, for the error.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Dialer, Io};

/// How an HTTP/2 client begins, with an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Bytes that tell: the head of a frame is that long.
const ENOUGH: usize = 9;

/// How long the peer may take; whoever waits has an error to show already.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a peer answers to the first bytes of HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/2, as it should.
    Http2,
    /// HTTP/1.
    Http1,
    /// A TLS record: it wants TLS.
    Tls,
    /// It closed the connection without a byte.
    Closed,
    /// It accepted the connection, and that was all.
    Nothing,
    /// Something else, which begins with these bytes.
    Other(Vec<u8>),
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http2 => f.write_str("speaks HTTP/2"),
            Self::Http1 => f.write_str("speaks HTTP/1"),
            Self::Tls => f.write_str("wants TLS"),
            Self::Closed => f.write_str("closes connections at once"),
            Self::Nothing => f.write_str("says nothing"),
            Self::Other(bytes) => {
                f.write_str("answers with bytes that are not HTTP/2 (")?;
                for (at, byte) in bytes.iter().enumerate() {
                    write!(f, "{}{byte:02x}", if at > 0 { " " } else { "" })?;
                }
                f.write_str(" …)")
            }
        }
    }
}

impl Dialer {
    /// Connects once more and looks at what comes back. `None` when there is no connection any more.
    pub(super) async fn spoken(&self) -> Option<Spoken> {
        let mut io = self.dial(None).await.ok()?;
        let mut start = Vec::new();
        match tokio::time::timeout(PATIENCE, ask(&mut io, &mut start)).await {
            Ok(_) if start.is_empty() => Some(Spoken::Closed),
            Err(_) if start.is_empty() => Some(Spoken::Nothing),
            Ok(_) | Err(_) => Some(read(start)),
        }
    }
}

async fn ask(io: &mut Io, start: &mut Vec<u8>) -> io::Result<()> {
    // A peer that has closed its side refuses this, and may have said something before.
    let _ = io.write_all(PREFACE).await;
    let mut io = io.take(ENOUGH as u64);
    while start.len() < ENOUGH {
        if io.read_buf(start).await? == 0 {
            break;
        }
    }
    Ok(())
}

fn read(start: Vec<u8>) -> Spoken {
    match start.as_slice() {
        // A SETTINGS frame on stream 0, of a few settings, is the first that a server may send.
        [0, _, _, 4, _, 0, 0, 0, 0] => Spoken::Http2,
        [b'H', b'T', b'T', b'P', b'/', ..] => Spoken::Http1,
        // An alert, or a handshake message, of any version.
        [0x15 | 0x16, 3, ..] => Spoken::Tls,
        _ => Spoken::Other(start),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;
    use crate::transport::Address;

    async fn spoken_by(answer: Option<&'static [u8]>) -> Option<Spoken> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            match answer {
                Some(answer) => stream.write_all(answer).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        let spoken = Dialer::plain(Address::unix(&path)).spoken().await;
        peer.abort();
        spoken
    }

    #[tokio::test]
    async fn is_told_by_its_first_bytes() {
        assert_eq!(spoken_by(Some(b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0")).await, Some(Spoken::Http2));
        assert_eq!(spoken_by(Some(b"HTTP/1.1 400 Bad Request\r\n")).await, Some(Spoken::Http1));
        assert_eq!(spoken_by(Some(b"\x15\x03\x01\x00\x02\x02\x46")).await, Some(Spoken::Tls));
        assert_eq!(spoken_by(Some(b"")).await, Some(Spoken::Closed));
        let other = spoken_by(Some(b"SSH-2.0-x")).await.unwrap().to_string();
        assert_eq!(other, "answers with bytes that are not HTTP/2 (53 53 48 2d 32 2e 30 2d 78 …)");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_waited_for_a_little() {
        assert_eq!(spoken_by(None).await, Some(Spoken::Nothing));
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_speaks_nothing() {
        assert_eq!(Dialer::plain(Address::unix("/none/at/all")).spoken().await, None);
    }
}
