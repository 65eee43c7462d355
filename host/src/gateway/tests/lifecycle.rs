//! How a gateway stops.

use std::time::Duration;

use tokio::sync::mpsc;
use tonic::Code;

use super::support::*;
use crate::gateway::{Limits, RequestBody, Stopped};

/// An upstream that answers when told to.
fn told() -> (impl crate::gateway::Upstream, mpsc::Receiver<()>, std::sync::Arc<tokio::sync::Notify>) {
    let (called, calls) = mpsc::channel(16);
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let waits = go.clone();
    let upstream = upstream(move |request: http::Request<RequestBody>| {
        let (called, waits) = (called.clone(), waits.clone());
        async move {
            called.send(()).await.unwrap();
            waits.notified().await;
            echo(request).await
        }
    });
    (upstream, calls, go)
}

#[tokio::test]
async fn shutdown_lets_calls_finish() {
    let (upstream, mut calls, go) = told();
    let running = start(upstream, Limits::default()).await;
    let client = running.client().await;
    let answer = tokio::spawn(async move { call(&client, say().body(()).unwrap(), message(7)).await });
    calls.recv().await.unwrap();
    let stopping = tokio::spawn(running.handle.shutdown(PATIENCE));
    // The socket goes when the gateway has begun to stop.
    while running.path.exists() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(answer.await.unwrap().status().code(), Code::Ok);
    assert_eq!(stopping.await.unwrap(), Stopped { cut_off: 0 });
}

#[tokio::test(start_paused = true)]
async fn shutdown_cuts_off_what_outlasts_the_deadline() {
    let (upstream, mut calls, _go) = told();
    let running = start(upstream, Limits::default()).await;
    let client = running.client().await;
    let (response, _send) =
        client.ready().await.unwrap().send_request(say().body(()).unwrap(), true).unwrap();
    calls.recv().await.unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(running.handle.shutdown(Duration::from_secs(3)).await, Stopped { cut_off: 1 });
    assert_eq!(begin.elapsed().as_secs(), 3);
    assert!(response.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn clients_without_calls_and_watches_do_not_hold_up_shutdown() {
    let running = start(upstream(echo), Limits::default()).await;
    running.known.set_health("", None, crate::gateway::ServingStatus::Serving);
    let client = running.client().await;
    let request = grpc("/grpc.health.v1.Health/Watch").body(()).unwrap();
    let (response, mut send) = client.ready().await.unwrap().send_request(request, false).unwrap();
    send.send_data(message(0), true).unwrap();
    let mut watch = response.await.unwrap().into_body();
    watch.data().await.unwrap().unwrap();
    // Half a handshake.
    let _mute = tokio::net::UnixStream::connect(&running.path).await.unwrap();
    let stopped = running.handle.shutdown(Duration::from_secs(30)).await;
    assert_eq!(stopped, Stopped { cut_off: 0 });
    assert!(watch.data().await.is_none());
    assert_eq!(watch.trailers().await.unwrap().unwrap()["grpc-status"], "14");
}

#[tokio::test]
async fn dropping_the_handle_ends_everything() {
    let (upstream, mut calls, _go) = told();
    let running = start(upstream, Limits::default()).await;
    let client = running.client().await;
    let (response, _send) =
        client.ready().await.unwrap().send_request(say().body(()).unwrap(), true).unwrap();
    calls.recv().await.unwrap();
    drop(running.handle);
    assert!(tokio::time::timeout(PATIENCE, response).await.unwrap().is_err());
    while running.path.exists() {
        tokio::task::yield_now().await;
    }
}
