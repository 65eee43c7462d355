//! What a client cannot do: every bound of [`Limits`], against clients that do not behave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::Code;

use super::support::*;
use crate::gateway::Limits;

const ENHANCE_YOUR_CALM: u32 = 11;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The head of a call, in HPACK literals.
fn head() -> Vec<u8> {
    head_to("localhost")
}

fn head_to(authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (index, value) in
        [(&[0x04][..], "/demo.v1.Echo/Say"), (&[0x01], authority), (&[0x0f, 0x10], "application/grpc")]
    {
        block.extend(index);
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    block
}

/// A client that writes frames of its own.
async fn raw(running: &Running, settings: &[u8]) -> UnixStream {
    let mut io = UnixStream::connect(&running.path).await.unwrap();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, settings)].concat();
    io.write_all(&preface).await.unwrap();
    io
}

/// Reads until GOAWAY, and returns its error code; `None` when the connection ends without.
async fn goaway(io: &mut (impl AsyncReadExt + Unpin)) -> Option<u32> {
    loop {
        let mut header = [0; 9];
        io.read_exact(&mut header).await.ok()?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        io.read_exact(&mut payload).await.ok()?;
        if header[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
}

/// An upstream that never answers.
fn silent() -> impl crate::gateway::Upstream {
    upstream(|request| async {
        let _request = request;
        std::future::pending().await
    })
}

#[tokio::test]
async fn resets_of_young_calls_end_the_connection() {
    let running = start(silent(), Limits::default()).await;
    let io = raw(&running, &[]).await;
    let (mut read, mut write) = io.into_split();
    let flood = tokio::spawn(async move {
        for id in (1..200_000).step_by(2) {
            let pair =
                [frame(HEADERS, END_HEADERS, id, &head()), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat();
            if write.write_all(&pair).await.is_err() {
                return id;
            }
        }
        panic!("the flood was taken whole");
    });
    let code = timeout(PATIENCE, goaway(&mut read)).await.unwrap();
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    drop(read);
    timeout(PATIENCE, flood).await.unwrap().unwrap();
}

#[tokio::test]
async fn resets_of_calls_under_way_are_counted_too() {
    let limits = Limits { max_resets: 5, ..Limits::default() };
    let (called, mut calls) = tokio::sync::mpsc::channel(1);
    let upstream = upstream(move |_| {
        let called = called.clone();
        async move {
            called.send(()).await.unwrap();
            std::future::pending().await
        }
    });
    let running = start(upstream, limits).await;
    let mut io = raw(&running, &[]).await;
    for id in [1, 3, 5, 7, 9, 11] {
        io.write_all(&frame(HEADERS, END_HEADERS, id, &head())).await.unwrap();
        calls.recv().await.unwrap();
        io.write_all(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).await.unwrap();
    }
    assert_eq!(timeout(PATIENCE, goaway(&mut io)).await.unwrap(), Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_call_that_is_reset_at_once_is_not_begun_upstream() {
    const END_STREAM: u8 = 1;
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    let upstream = upstream(move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        echo(request)
    });
    let running = start(upstream, Limits::default()).await;
    let mut io = raw(&running, &[]).await;
    let mut bytes = Vec::new();
    for id in (1..100).step_by(2) {
        bytes.extend(frame(HEADERS, END_HEADERS, id, &head()));
        bytes.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
    }
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 101, &head()));
    io.write_all(&bytes).await.unwrap();
    let answered = async {
        let mut header = [0; 9];
        while header[3] != HEADERS {
            io.read_exact(&mut header).await.unwrap();
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            io.read_exact(&mut vec![0; length as usize]).await.unwrap();
        }
        header[8]
    };
    assert_eq!(timeout(PATIENCE, answered).await.unwrap(), 101);
    assert_eq!(begun.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let running = start(silent(), Limits::default()).await;
    let io = raw(&running, &[]).await;
    let (mut read, mut write) = io.into_split();
    let flood = tokio::spawn(async move {
        let mut sent = write.write_all(&frame(HEADERS, 0, 1, &head())).await;
        // Each a header `a: aaaa…`, which is decoded before the next comes.
        let piece = [&[0x00, 1, b'a', 100][..], &[b'a'; 100]].concat().repeat(10);
        let mut count = 0;
        while sent.is_ok() {
            sent = write.write_all(&frame(CONTINUATION, 0, 1, &piece)).await;
            count += 1;
            assert!(count < 100_000, "the flood was taken whole");
        }
    });
    timeout(PATIENCE, goaway(&mut read)).await.expect("the connection ends");
    drop(read);
    timeout(PATIENCE, flood).await.unwrap().unwrap();
    let answer = running.client().await;
    assert!(answer.ready().await.is_ok(), "others connect");
}

#[tokio::test]
async fn too_large_a_header_list_fails_its_call_only() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    let (first, second) = ("y".repeat(9000), "z".repeat(9000));
    let request = say().header("x-a", first).header("x-b", second).body(()).unwrap();
    let answer = call(&client, request, message(1)).await;
    assert_eq!(answer.head.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let fits = say().header("x-a", "y".repeat(9000)).body(()).unwrap();
    assert_eq!(call(&client, fits, message(1)).await.status().code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_dawdles_over_its_preface_is_cut_off() {
    let running = start(silent(), Limits::default()).await;
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut io = UnixStream::connect(&running.path).await.unwrap();
        io.write_all(said).await.unwrap();
        let mut read = Vec::new();
        let begin = tokio::time::Instant::now();
        io.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"");
        assert_eq!(begin.elapsed().as_secs(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_asked_to_leave_then_cut_off() {
    let running = start(silent(), Limits::default()).await;
    let begin = tokio::time::Instant::now();
    // One that leaves when asked.
    let (client, connection) =
        h2::client::handshake(UnixStream::connect(&running.path).await.unwrap()).await.unwrap();
    connection.await.unwrap();
    assert!(begin.elapsed() >= Limits::default().idle_timeout, "{:?}", begin.elapsed());
    drop(client);
    // One that does not.
    let mut io = raw(&running, &[]).await;
    assert_eq!(goaway(&mut io).await, Some(0));
    assert_eq!(goaway(&mut io).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_call_is_not_idle() {
    let running = start(silent(), Limits::default()).await;
    let client = running.client().await;
    let (response, _send) =
        client.ready().await.unwrap().send_request(say().body(()).unwrap(), true).unwrap();
    let waited = timeout(Limits::default().idle_timeout * 5, response).await;
    assert!(waited.is_err(), "the call ended: {waited:?}");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let running = start(upstream(echo), limits).await;
    let first = running.client().await;
    assert_eq!(call(&first, say().body(()).unwrap(), message(1)).await.status().code(), Code::Ok);
    let mut second = UnixStream::connect(&running.path).await.unwrap();
    assert_eq!(timeout(PATIENCE, goaway(&mut second)).await.unwrap(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(call(&first, say().body(()).unwrap(), message(1)).await.status().code(), Code::Ok);
}

#[tokio::test]
async fn the_bound_of_streams_is_advertised() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    call(&client, say().body(()).unwrap(), message(1)).await;
    assert_eq!(client.current_max_send_streams(), 512);
}

/// A gateway over an upstream that has more than anybody reads, and the bytes that were pulled from it.
async fn endless() -> (Running, Arc<AtomicUsize>) {
    let pulled = Arc::new(AtomicUsize::new(0));
    let counted = pulled.clone();
    let upstream = upstream(move |_| {
        let counted = counted.clone();
        async move {
            let frames = futures_util::stream::repeat_with(move || {
                counted.fetch_add(16 << 10, Ordering::Relaxed);
                Ok(Frame::data(Bytes::from_static(&[0; 16 << 10])))
            });
            Ok(response(StreamBody::new(frames.take(65_536)).boxed_unsync()))
        }
    });
    (start(upstream, Limits::default()).await, pulled)
}

/// Paused time passes only when no task can run: then nothing is pulled any more.
async fn until_quiet() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn stalled_readers_stop_what_is_pulled_for_them() {
    let (running, pulled) = endless().await;
    // Windows of 1 GiB and a client that reads nothing at all from its socket.
    let mut io = raw(&running, &[0, 4, 0x40, 0, 0, 0]).await;
    io.write_all(&frame(WINDOW_UPDATE, 0, 0, &[0x40, 0, 0, 0])).await.unwrap();
    for id in 0..100 {
        io.write_all(&frame(HEADERS, END_HEADERS, 2 * id + 1, &head())).await.unwrap();
    }
    until_quiet().await;
    let stalled = pulled.load(Ordering::Relaxed);
    assert!(stalled >= 100 * (64 << 10), "only {stalled} bytes were pulled");
    assert!(stalled <= 16 << 20, "{stalled} bytes were pulled for clients that do not read");
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_a_closed_window_does_not_stall_its_neighbours() {
    let (running, pulled) = endless().await;
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(64 << 20);
    let client = running.client_with(builder).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut client = client.clone().ready().await.unwrap();
        let (response, _) = client.send_request(say().body(()).unwrap(), true).unwrap();
        held.push(response.await.unwrap());
    }
    until_quiet().await;
    let before = pulled.load(Ordering::Relaxed);
    assert!(before <= 100 * ((64 + 64 + 32) << 10), "{before} bytes were pulled");
    let one = held.last_mut().unwrap().body_mut();
    for _ in 0..100 {
        let piece = one.data().await.unwrap().unwrap();
        one.flow_control().release_capacity(piece.len()).unwrap();
    }
    assert!(pulled.load(Ordering::Relaxed) > before);
}

#[tokio::test(start_paused = true)]
async fn requests_that_nobody_reads_do_not_stall_their_neighbours() {
    let upstream = upstream(|request: http::Request<crate::gateway::RequestBody>| async {
        if request.headers().contains_key("x-stall") {
            let _request = request;
            return std::future::pending().await;
        }
        echo(request).await
    });
    let running = start(upstream, Limits::default()).await;
    let client = running.client().await;
    let mut held = Vec::new();
    for _ in 0..300 {
        let mut client = client.clone().ready().await.unwrap();
        let request = say().header("x-stall", "1").body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        send.send_data(message(1 << 20), false).unwrap();
        held.push((response, send));
    }
    until_quiet().await;
    let answer = call(&client, say().body(()).unwrap(), message(100_000)).await;
    assert_eq!(answer.data.len(), 100_005);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_waits_for_its_answers_to_be_read() {
    const PING: u8 = 6;
    let running = start(silent(), Limits::default()).await;
    let mut io = raw(&running, &[]).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(1000);
    for _ in 0..10_000 {
        // Time passes only when nobody can go on.
        if timeout(Duration::from_secs(1), io.write_all(&pings)).await.is_err() {
            return;
        }
    }
    panic!("170 MB of pings were taken without one answer being read");
}

/// As the C core, and what is built on it, sends over Unix sockets.
#[tokio::test]
async fn an_authority_that_is_a_path_is_taken() {
    const END_STREAM: u8 = 1;
    let running = start(upstream(echo), Limits::default()).await;
    for authority in ["run%2Fhost.sock", "/run/host.sock"] {
        let mut io = raw(&running, &[]).await;
        io.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head_to(authority))).await.unwrap();
        let answer = async {
            loop {
                let mut header = [0; 9];
                io.read_exact(&mut header).await.unwrap();
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
                io.read_exact(&mut vec![0; length as usize]).await.unwrap();
                if header[8] == 1 {
                    return header[3];
                }
            }
        };
        assert_eq!(timeout(PATIENCE, answer).await.unwrap(), HEADERS, "{authority}");
    }
}
