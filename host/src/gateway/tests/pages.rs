//! Metrics and probes over HTTP/1.1 and HTTP/2, and clients that make trouble there.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::support::*;
use crate::gateway::Limits;

/// Sends `request` and reads to the end of the connection: head and body.
async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> (String, String) {
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, io.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    (head.to_ascii_lowercase(), body.to_owned())
}

async fn unix(running: &Running, request: &str) -> (String, String) {
    exchange(UnixStream::connect(&running.path).await.unwrap(), request).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

#[tokio::test]
async fn http1_gets_pages_and_nothing_else() {
    let running = start(upstream(echo), Limits::default()).await;
    let (head, body) = unix(&running, &get("/metrics")).await;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        head.contains(&format!("content-length: {METRICS}")) && head.contains("connection: close"),
        "{head}"
    );
    assert_eq!(body.len(), METRICS);

    let (head, body) = unix(&running, "HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        head.starts_with("http/1.1 200 ok") && head.contains(&format!("content-length: {METRICS}")),
        "{head}"
    );
    assert_eq!(body, "");

    assert_eq!(unix(&running, &get("/livez")).await.1, "ok\n");
    assert_eq!(unix(&running, "GET /readyz HTTP/1.0\r\n\r\n").await.1, "ok\n");
    running.known.pids.lock().unwrap().insert(1, "demo-0".parse().unwrap());
    let (head, body) = unix(&running, &get("/readyz")).await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert_eq!(body, "demo is starting\n");

    for request in [
        &get("/"),
        &get("/metrics/x"),
        "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx",
        "POST /demo.v1.Echo/Say HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\n\r\n",
    ] {
        let (head, body) = unix(&running, request).await;
        assert!(head.starts_with("http/1.1 404 not found\r\n"), "{request}: {head}");
        assert!(body.contains("gRPC over HTTP/2") && body.contains("/metrics"), "{body}");
    }
}

#[tokio::test]
async fn a_listener_of_their_own_serves_pages_and_no_calls() {
    let running = start(upstream(echo), Limits::default()).await;
    let (head, body) = exchange(TcpStream::connect(running.pages).await.unwrap(), &get("/metrics")).await;
    assert!(head.starts_with("http/1.1 200 ok") && body.len() == METRICS, "{head}");
    let mut io = TcpStream::connect(running.pages).await.unwrap();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    // Bytes that were not read may make the end a reset.
    let _ = timeout(PATIENCE, io.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"", "no HTTP/2 there");
}

#[tokio::test]
async fn http2_gets_the_same_pages() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    let ask = async |method: Method, path: &str| {
        let request =
            Request::builder().method(method).uri(format!("http://localhost{path}")).body(()).unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        timeout(PATIENCE, collect(response)).await.unwrap().unwrap()
    };
    let answer = ask(Method::GET, "/metrics").await;
    assert_eq!((answer.head.status, answer.data.len()), (StatusCode::OK, METRICS));
    assert_eq!(answer.head.headers["content-type"], "text/plain; version=0.0.4");
    let answer = ask(Method::HEAD, "/metrics").await;
    assert_eq!((answer.head.status, answer.data.len()), (StatusCode::OK, 0));
    assert_eq!(ask(Method::GET, "/livez").await.data, "ok\n");
    let answer = ask(Method::GET, "/").await;
    assert_eq!(answer.head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.head.headers["allow"], "POST");
    assert_eq!(call(&client, say().body(()).unwrap(), message(1)).await.status().code(), tonic::Code::Ok);
}

#[tokio::test]
async fn who_does_not_read_a_page_holds_few_and_not_for_long() {
    let limits = Limits { handshake_timeout: Duration::from_secs(1), ..Limits::default() };
    let running = start(upstream(echo), limits).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(10);
    let client = running.client_with(builder).await;
    let mut answers = Vec::new();
    for _ in 0..20 {
        let request = Request::get("http://localhost/metrics").body(()).unwrap();
        let mut client = client.clone().ready().await.unwrap();
        answers.push(client.send_request(request, true).unwrap().0);
    }
    let mut statuses = Vec::new();
    let mut bodies = Vec::new();
    for answer in answers {
        let response = timeout(PATIENCE, answer).await.unwrap().unwrap();
        statuses.push(response.status());
        bodies.push(response.into_body());
    }
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert_eq!((count(StatusCode::OK), count(StatusCode::SERVICE_UNAVAILABLE)), (8, 12));
    for (status, mut body) in statuses.iter().zip(bodies).filter(|(status, _)| **status == StatusCode::OK) {
        // The first bytes come, then the reset.
        let ended = async {
            loop {
                if let Err(error) = body.data().await.expect("a reset") {
                    return error;
                }
            }
        };
        assert!(timeout(PATIENCE, ended).await.unwrap().is_reset(), "{status}");
    }
    let client = running.client().await;
    assert_eq!(call(&client, say().body(()).unwrap(), message(1)).await.status().code(), tonic::Code::Ok);
}

#[tokio::test]
async fn slow_and_oversized_requests_of_http1_end() {
    let limits = Limits { handshake_timeout: Duration::from_millis(300), ..Limits::default() };
    let running = start(upstream(echo), limits).await;
    for begun in
        ["G", "GET /met", "GET /metrics HTTP/1.1\r\nhost: x\r\nx-", "POST /x HTTP/1.1\r\ncontent-length: 9"]
    {
        for to_pages in [false, true] {
            let mut answer = Vec::new();
            if to_pages {
                let mut io = TcpStream::connect(running.pages).await.unwrap();
                io.write_all(begun.as_bytes()).await.unwrap();
                timeout(PATIENCE, io.read_to_end(&mut answer)).await.expect("an end").unwrap();
            } else {
                let mut io = UnixStream::connect(&running.path).await.unwrap();
                io.write_all(begun.as_bytes()).await.unwrap();
                timeout(PATIENCE, io.read_to_end(&mut answer)).await.expect("an end").unwrap();
            }
            assert_eq!(answer, b"", "{begun}");
        }
    }
    // Asks and does not read: more than the socket's buffers hold is left, and is not kept.
    let mut io = UnixStream::connect(&running.path).await.unwrap();
    io.write_all(get("/metrics").as_bytes()).await.unwrap();
    wait_for(|| running.calls.connections() == 1).await;
    wait_for(|| running.calls.connections() == 0).await;

    let long = format!("GET /metrics HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(100 << 10));
    let mut io = UnixStream::connect(&running.path).await.unwrap();
    // Refused before all of it is sent.
    let _ = io.write_all(long.as_bytes()).await;
    let mut answer = [0; 12];
    timeout(PATIENCE, io.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn what_is_not_http_gets_no_http() {
    let running = start(upstream(echo), Limits::default()).await;
    for garbage in [&[0x16, 3, 1, 0, 5][..], b"GET\0/metrics", b"get /metrics HTTP/1.1\r\n\r\n", &[0xff; 64]]
    {
        let mut io = UnixStream::connect(&running.path).await.unwrap();
        io.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, io.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, b"", "{garbage:?}");
    }
    for broken in ["GET /metrics HTTP/1.1\r\nno colon\r\n\r\n", "GET /metrics HTTP/9.9\r\n\r\n"] {
        let (head, body) = unix(&running, broken).await;
        assert!(head.starts_with("http/1.1 400 ") && body.is_empty(), "{head}");
    }
    let client = running.client().await;
    assert_eq!(call(&client, say().body(()).unwrap(), message(1)).await.status().code(), tonic::Code::Ok);
}

async fn wait_for(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}
