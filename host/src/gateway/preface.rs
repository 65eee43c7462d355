//! The first bytes of a connection: HTTP/2, or something that deserves an answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::transport::write_through;

/// What every HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes after which an HTTP/1 method would have ended.
const LONGEST_METHOD: usize = 32;

/// A stream from which some bytes were already read.
#[derive(Debug)]
pub(super) struct Rewound<T> {
    read: Bytes,
    io: T,
}

/// What a client speaks.
#[derive(Debug)]
pub(super) enum Spoken<T> {
    Http2(Rewound<T>),
    Http1(Rewound<T>),
    /// Nothing that deserves an answer.
    Other,
}

/// Reads until it is sure what the client speaks.
pub(super) async fn spoken<T>(mut io: T) -> io::Result<Spoken<T>>
where
    T: AsyncRead + Unpin,
{
    let mut read = BytesMut::with_capacity(256);
    loop {
        let compared = read.len().min(PREFACE.len());
        if read.get(..compared) != PREFACE.get(..compared) {
            while !tells_http1(&read) && read.len() < LONGEST_METHOD && io.read_buf(&mut read).await? > 0 {}
            return Ok(match is_http1(&read) {
                true => Spoken::Http1(Rewound { read: read.freeze(), io }),
                false => Spoken::Other,
            });
        }
        if compared == PREFACE.len() {
            return Ok(Spoken::Http2(Rewound { read: read.freeze(), io }));
        }
        if io.read_buf(&mut read).await? == 0 {
            return Ok(Spoken::Other);
        }
    }
}

/// The byte after the first space, which in HTTP/1 begins the target.
fn second_word(read: &[u8]) -> Option<(&[u8], u8)> {
    let space = read.iter().position(|byte| *byte == b' ')?;
    Some((read.get(..space)?, *read.get(space + 1)?))
}

/// Whether there is enough to tell HTTP/1 from something else.
fn tells_http1(read: &[u8]) -> bool {
    second_word(read).is_some() || !read.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b' ')
}

/// A method in capitals, then a target. What speaks another protocol is not answered in HTTP.
fn is_http1(read: &[u8]) -> bool {
    second_word(read).is_some_and(|(method, target)| {
        !method.is_empty()
            && method.iter().all(u8::is_ascii_uppercase)
            && matches!(target, b'/' | b'*' | b'h')
    })
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(self.read.get(..count).unwrap_or_default());
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

write_through!(Rewound);
