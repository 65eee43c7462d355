//! Faults below gRPC.

use std::future::pending;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Mode;

/// An empty SETTINGS frame.
pub(super) const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// A PING frame.
pub(super) const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";

/// HEADERS on stream 1 that neither end the headers nor the stream: `:status 200`, to be continued.
const HEADERS_OPEN: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x88";

/// Plays the mode on a connection; gives the connection back when the mode is none of these.
pub(super) async fn talk(mut stream: UnixStream, mode: Mode) -> Option<UnixStream> {
    match mode {
        "closes-at-once" => {}
        "says-nothing" => pending().await,
        "reads-only" => swallow(&mut stream).await,
        "speaks-http1" => {
            read_some(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            swallow(&mut stream).await;
        }
        "speaks-garbage" => {
            let garbage: Vec<u8> =
                (0..65_536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let _ = stream.write_all(&garbage).await;
            swallow(&mut stream).await;
        }
        "settings-flood" => flood(&mut stream, SETTINGS).await,
        "ping-flood" => flood(&mut stream, PING).await,
        "empty-data-flood" => flood(&mut stream, b"\0\0\0\0\0\0\0\0\x01").await,
        "oversized-frame" => {
            // 16 MiB less one byte, announced in a DATA frame on stream 1.
            let _ = stream.write_all(SETTINGS).await;
            let _ = stream.write_all(b"\xff\xff\xff\0\0\0\0\0\x01").await;
            swallow(&mut stream).await;
        }
        "window-of-zero" => {
            // SETTINGS_INITIAL_WINDOW_SIZE = 0, and no update ever.
            let _ = stream.write_all(b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0").await;
            swallow(&mut stream).await;
        }
        "headers-without-end" => {
            read_some(&mut stream).await;
            let _ = stream.write_all(SETTINGS).await;
            let _ = stream.write_all(HEADERS_OPEN).await;
            // `x: y` as a literal that is not indexed, 1000 times a CONTINUATION.
            let fields = b"\0\x01x\x01y".repeat(1000);
            let mut frame = Vec::from(&(fields.len() as u32).to_be_bytes()[1..]);
            frame.extend(b"\x09\0\0\0\0\x01");
            frame.extend(fields);
            flood_frames(&mut stream, &frame).await;
        }
        _ => return Some(stream),
    }
    None
}

async fn read_some(stream: &mut UnixStream) {
    let _ = stream.read(&mut [0; 1024]).await;
}

async fn swallow(stream: &mut UnixStream) {
    let mut buffer = vec![0; 65_536];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// Frames without end, after the SETTINGS that HTTP/2 wants first. Reads what comes, so that only the
/// frames are the fault.
async fn flood(stream: &mut UnixStream, frame: &[u8]) {
    let _ = stream.write_all(SETTINGS).await;
    flood_frames(stream, frame).await;
}

async fn flood_frames(stream: &mut UnixStream, frame: &[u8]) {
    let (mut read, mut write) = stream.split();
    let frames = frame.repeat(65_536 / frame.len() + 1);
    let reading = async {
        let mut buffer = vec![0; 65_536];
        while read.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    let writing = async { while write.write_all(&frames).await.is_ok() {} };
    tokio::select! { () = reading => {}, () = writing => {} }
}
