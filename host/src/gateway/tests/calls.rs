//! Calls of all kinds: heads, messages, trailers, deadlines and cancellation, both ways.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use super::support::*;
use crate::gateway::Limits;

/// Tells when it is dropped.
struct Tells(Option<oneshot::Sender<()>>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.take().map(|sender| sender.send(()));
    }
}

/// A response body fed by the test.
fn fed() -> (mpsc::Sender<Result<Frame<Bytes>, Status>>, MockBody) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    (sender, StreamBody::new(stream).boxed_unsync())
}

/// An upstream whose every call waits for ever and tells when it is dropped.
fn hanging() -> (impl crate::gateway::Upstream, mpsc::Receiver<()>, mpsc::Receiver<oneshot::Receiver<()>>) {
    let (called, calls) = mpsc::channel(16);
    let (dropped, drops) = mpsc::channel(16);
    let upstream = upstream(move |request| {
        let (called, dropped) = (called.clone(), dropped.clone());
        async move {
            let (sender, receiver) = oneshot::channel();
            let _tells = Tells(Some(sender));
            dropped.send(receiver).await.unwrap();
            called.send(()).await.unwrap();
            let _request = request;
            std::future::pending().await
        }
    });
    (upstream, calls, drops)
}

#[tokio::test]
async fn a_unary_call_passes_unchanged() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    let request = say()
        .header("x-text", "a")
        .header("x-text", "b")
        .header("x-thing-bin", "AAEC/w")
        .header("x-traceparent", "00-1-2-01")
        .header("plugmesh-caller", "forged")
        .header("plugmesh-other", "forged");
    let answer = call(&client, request.body(()).unwrap(), message(100)).await;
    assert_eq!(answer.status().code(), Code::Ok);
    assert_eq!(answer.head.headers["x-head"], "1");
    assert_eq!(answer.head.headers["content-type"], "application/grpc+proto");
    assert_eq!(answer.data, message(100));
    let texts: Vec<_> = answer.trailers.get_all("x-text").iter().collect();
    assert_eq!(texts, ["a", "b"]);
    assert_eq!(answer.trailers["x-thing-bin"], "AAEC/w");
    assert_eq!(answer.trailers["plugmesh-caller"], "operator");
    assert!(!answer.trailers.contains_key("plugmesh-other"));
}

#[tokio::test]
async fn messages_of_a_bidirectional_stream_pass_one_by_one() {
    let running = start(upstream(echo), Limits::default()).await;
    let mut client = running.client().await.ready().await.unwrap();
    let (response, mut send) =
        client.send_request(grpc("/demo.v1.Echo/Chat").body(()).unwrap(), false).unwrap();
    let mut recv = response.await.unwrap().into_body();
    for length in [1, 0, 70_000, 5] {
        let sent = message(length);
        send.send_data(sent.clone(), false).unwrap();
        let mut back = Vec::new();
        while back.len() < sent.len() {
            let piece = recv.data().await.unwrap().unwrap();
            recv.flow_control().release_capacity(piece.len()).unwrap();
            back.extend_from_slice(&piece);
        }
        assert_eq!(back, sent);
    }
    send.send_data(Bytes::new(), true).unwrap();
    assert!(recv.data().await.is_none());
    assert_eq!(recv.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_large_message_passes_in_both_directions() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    let answer = call(&client, say().body(()).unwrap(), message(3 << 20)).await;
    assert_eq!(answer.data, message(3 << 20));
}

#[tokio::test]
async fn a_trailers_only_answer_stays_one() {
    let fails = upstream(|_| async {
        let mut response = response(http_body_util::Empty::new().map_err(|e| match e {}).boxed_unsync());
        response.headers_mut().insert("grpc-status", "9".parse().unwrap());
        Ok(response)
    });
    let running = start(fails, Limits::default()).await;
    let answer = call(&running.client().await, say().body(()).unwrap(), message(1)).await;
    assert_eq!(answer.head.headers["grpc-status"], "9");
    assert_eq!(answer.trailers, HeaderMap::new());
}

#[tokio::test]
async fn a_status_from_upstream_is_the_answer() {
    let fails = upstream(|_| async { Err(Status::unavailable("calculator-0 died: \u{1f4a5}")) });
    let running = start(fails, Limits::default()).await;
    let answer = call(&running.client().await, say().body(()).unwrap(), message(1)).await;
    assert_eq!(answer.head.status, StatusCode::OK);
    assert_eq!(answer.status().code(), Code::Unavailable);
    assert_eq!(answer.status().message(), "calculator-0 died: \u{1f4a5}");
}

#[tokio::test]
async fn an_error_in_mid_stream_comes_as_trailers() {
    let (feed, body) = fed();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let streams = upstream(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok(response(body)) }
    });
    let running = start(streams, Limits::default()).await;
    tokio::spawn(async move {
        feed.send(Ok(Frame::data(message(3)))).await.unwrap();
        feed.send(Err(Status::unavailable("text-1 died"))).await.unwrap();
    });
    let answer = call(&running.client().await, say().body(()).unwrap(), message(1)).await;
    assert_eq!(answer.data, message(3));
    assert_eq!(answer.trailers["grpc-status"], "14");
    assert_eq!(answer.status().message(), "text-1 died");
}

#[tokio::test]
async fn a_client_that_resets_cancels_the_call_upstream() {
    let (upstream, mut calls, mut drops) = hanging();
    let running = start(upstream, Limits::default()).await;
    let mut client = running.client().await.ready().await.unwrap();
    // Once while the request is whole, once while it is still open.
    for end in [true, false] {
        let (response, mut send) = client.send_request(say().body(()).unwrap(), false).unwrap();
        send.send_data(message(1), end).unwrap();
        calls.recv().await.unwrap();
        send.send_reset(h2::Reason::CANCEL);
        drop(response);
        let dropped = drops.recv().await.unwrap();
        tokio::time::timeout(PATIENCE, dropped).await.expect("upstream is dropped").unwrap();
    }
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_its_calls() {
    let (upstream, mut calls, mut drops) = hanging();
    let running = start(upstream, Limits::default()).await;
    let io = tokio::net::UnixStream::connect(&running.path).await.unwrap();
    let (client, connection) = h2::client::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let (_response, _send) =
        client.ready().await.unwrap().send_request(say().body(()).unwrap(), true).unwrap();
    calls.recv().await.unwrap();
    connection.abort();
    let dropped = drops.recv().await.unwrap();
    tokio::time::timeout(PATIENCE, dropped).await.expect("upstream is dropped").unwrap();
}

#[tokio::test]
async fn a_deadline_that_cannot_be_read_is_refused() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    let answer = call(&client, say().header("grpc-timeout", "soon").body(()).unwrap(), message(1)).await;
    assert_eq!(answer.status().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stream_that_fails_under_way_ends_its_request() {
    let (feed, body) = fed();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let (ended, request_end) = oneshot::channel();
    let ended = Arc::new(std::sync::Mutex::new(Some(ended)));
    let streams = upstream(move |mut request: http::Request<crate::gateway::RequestBody>| {
        let body = body.lock().unwrap().take().unwrap();
        let ended = ended.lock().unwrap().take().unwrap();
        // As an HTTP client that forwards a request in a task of its own.
        tokio::spawn(async move {
            let end = request.body_mut().frame().await.unwrap().unwrap_err();
            ended.send(end).unwrap();
        });
        async { Ok(response(body)) }
    });
    let running = start(streams, Limits::default()).await;
    feed.send(Ok(Frame::data(message(3)))).await.unwrap();
    let mut client = running.client().await.ready().await.unwrap();
    let (response, _still_open) = client.send_request(say().body(()).unwrap(), false).unwrap();
    feed.send(Err(Status::deadline_exceeded("too late"))).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, collect(response)).await.unwrap().unwrap();
    assert_eq!(answer.data, message(3));
    assert_eq!(answer.trailers["grpc-status"], "4");
    let end = tokio::time::timeout(PATIENCE, request_end).await.expect("the request ends").unwrap();
    assert_eq!(end.code(), Code::Cancelled);
    tokio::time::timeout(PATIENCE, feed.closed()).await.expect("the response is dropped");
}

#[tokio::test]
async fn an_early_answer_stops_the_request_without_an_error() {
    let answers = upstream(|_| async { Err(Status::unimplemented("no such method")) });
    let running = start(answers, Limits::default()).await;
    let mut client = running.client().await.ready().await.unwrap();
    let (response, mut send) = client.send_request(say().body(()).unwrap(), false).unwrap();
    send.send_data(message(10), false).unwrap();
    let answer = collect(response).await.unwrap();
    assert_eq!(answer.status().code(), Code::Unimplemented);
    let reason = std::future::poll_fn(|cx| send.poll_reset(cx));
    let reason = tokio::time::timeout(PATIENCE, reason).await.expect("the stream is reset").unwrap();
    assert_eq!(reason, h2::Reason::NO_ERROR);
}

#[tokio::test]
async fn what_is_no_grpc_call_gets_an_http_answer() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    let get = http::Request::get("http://localhost/demo.v1.Echo/Say").body(()).unwrap();
    let answer = call(&client, get, Bytes::new()).await;
    assert_eq!(answer.head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.head.headers["allow"], "POST");
    let json =
        http::Request::post("http://localhost/demo.v1.Echo/Say").header("content-type", "application/json");
    let answer = call(&client, json.body(()).unwrap(), Bytes::from("{}")).await;
    assert_eq!(answer.head.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_panic_ends_its_call_and_not_its_neighbours() {
    let panics = upstream(|request: http::Request<crate::gateway::RequestBody>| async {
        assert!(!request.headers().contains_key("x-panic"), "as asked");
        echo(request).await
    });
    let running = start(panics, Limits::default()).await;
    let mut client = running.client().await;
    let (response, _) = client.send_request(say().header("x-panic", "1").body(()).unwrap(), true).unwrap();
    let error = tokio::time::timeout(PATIENCE, collect(response)).await.unwrap().unwrap_err();
    assert!(error.is_reset(), "{error}");
    let answer = call(&client, say().body(()).unwrap(), message(1)).await;
    assert_eq!(answer.status().code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_may_take_long() {
    let slow = upstream(|request| async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        echo(request).await
    });
    let running = start(slow, Limits::default()).await;
    let client = running.client().await;
    let (response, mut send) =
        client.ready().await.unwrap().send_request(say().body(()).unwrap(), false).unwrap();
    send.send_data(message(1), true).unwrap();
    assert_eq!(collect(response).await.unwrap().status().code(), Code::Ok);
}
