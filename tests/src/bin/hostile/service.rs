//! `hostile.v1.HostileService`: each method is a fault that a call can meet.

use std::future::pending;
use std::sync::LazyLock;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderValue, Response};
use tonic::Code;

use super::relay::FLOOD;
use super::server::{Answer, Incoming, end, frame, response, trailers};
use super::wire::{PING, SETTINGS};

pub(super) const NAME: &str = "hostile.v1.HostileService";
pub(super) const PREFIX: &str = "/hostile.v1.HostileService/";

/// Methods with one answer.
pub(super) const METHODS: &[&str] = &[
    "Echo",
    "Large",
    "LargeForTonic",
    "BadMessage",
    "HugeMessage",
    "LargeHeaders",
    "HugeHeaders",
    "HugeTrailers",
    "Cancelled",
    "Refused",
    "Calm",
    "Internal",
    "NoStatus",
    "Html",
    "Unavailable503",
    "Truncated",
    "BadFlag",
    "Code42",
    "Stalls",
    "TwoMessages",
    "NoMessage",
    "Vanish",
    "NotAMessage",
    "FloodOfPings",
    "FloodOfSettings",
];

/// Methods with many.
pub(super) const STREAMS: &[&str] = &["DieInMidStream", "Endless"];

/// As many frames as fit into a large write.
static MANY_PINGS: LazyLock<Vec<u8>> = LazyLock::new(|| PING.repeat(4000));
static MANY_SETTINGS: LazyLock<Vec<u8>> = LazyLock::new(|| SETTINGS.repeat(8000));

/// `hostile.v1.Message`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Message {
    #[prost(string, tag = "1")]
    text: String,
}

pub(super) async fn answer(method: &str, incoming: &mut Incoming, answer: Answer) {
    let Some(request) = incoming.next::<Message>().await else { return };
    match method {
        "Echo" => answer.message(&request).await,
        // Only the length is sent: whoever counts needs no more.
        "Large" => {
            let mut body = answer.begin().await;
            let _ = body.send_data(b"\0\x04\0\0\x01".as_slice().into(), false);
            pending().await
        }
        "LargeForTonic" => answer.message(&Message { text: "x".repeat(5 << 20) }).await,
        "BadMessage" => answer.status(Code::Aborted, b"caf\xe9 %ff %zz %E2%82%AC"),
        "HugeMessage" => answer.status(Code::Aborted, "x".repeat(12_000).as_bytes()),
        // Just over what a host takes, and far over it.
        "LargeHeaders" => {
            let mut response = response();
            response.headers_mut().insert("x-large", HeaderValue::from_bytes(&[b'x'; 20_000]).unwrap());
            let _ = answer.begin_with(response).await.send_data(frame(&request), true);
        }
        "HugeHeaders" => {
            let mut response = response();
            response.headers_mut().insert("x-huge", HeaderValue::from_bytes(&[b'x'; 100_000]).unwrap());
            let _ = answer.begin_with(response).await.send_data(frame(&request), true);
        }
        "HugeTrailers" => {
            let mut body = answer.begin().await;
            let _ = body.send_data(frame(&request), false);
            let mut trailers = trailers(Code::Ok, b"");
            trailers.insert("x-huge", HeaderValue::from_bytes(&[b'x'; 100_000]).unwrap());
            let _ = body.send_trailers(trailers);
        }
        "FloodOfPings" | "FloodOfSettings" => {
            answer.message(&request).await;
            FLOOD.send_replace(match method {
                "FloodOfPings" => MANY_PINGS.as_slice(),
                _ => MANY_SETTINGS.as_slice(),
            });
        }
        "Cancelled" => answer.reset(Reason::CANCEL),
        "Refused" => answer.reset(Reason::REFUSED_STREAM),
        "Calm" => answer.reset(Reason::ENHANCE_YOUR_CALM),
        "Internal" => answer.reset(Reason::INTERNAL_ERROR),
        "NoStatus" => {
            let _ = answer.begin().await.send_data(frame(&request), true);
        }
        "Html" => {
            let head = Response::builder().header("content-type", "text/html").body(()).unwrap();
            let _ = answer.begin_with(head).await.send_data(Bytes::from_static(b"<h1>hello</h1>"), true);
        }
        "Unavailable503" => {
            let head = Response::builder().status(503).header("content-type", "text/plain").body(()).unwrap();
            let _ = answer.begin_with(head).await.send_data(Bytes::from_static(b"come back later"), true);
        }
        "Truncated" => {
            let mut body = answer.begin().await;
            let _ = body.send_data(b"\0\0\0\0\x64short".as_slice().into(), false);
            end(body, Code::Ok, b"");
        }
        "BadFlag" => {
            let mut body = answer.begin().await;
            let _ = body.send_data(b"\x07\0\0\0\0".as_slice().into(), false);
            end(body, Code::Ok, b"");
        }
        "NotAMessage" => {
            let mut body = answer.begin().await;
            let _ = body.send_data(b"\0\0\0\0\x04\xff\xff\xff\xff".as_slice().into(), false);
            end(body, Code::Ok, b"");
        }
        "Code42" => {
            let mut body = answer.begin().await;
            let mut trailers = trailers(Code::Ok, b"out of range");
            trailers.insert("grpc-status", HeaderValue::from(42));
            let _ = body.send_trailers(trailers);
        }
        "TwoMessages" => {
            let mut body = answer.begin().await;
            let _ = body.send_data(frame(&request), false);
            let _ = body.send_data(frame(&request), false);
            end(body, Code::Ok, b"");
        }
        "NoMessage" => end(answer.begin().await, Code::Ok, b""),
        "Stalls" => pending().await,
        "Vanish" => std::process::exit(3),
        "DieInMidStream" => {
            let mut body = answer.begin().await;
            let _ = body.send_data(frame(&request), false);
            // The caller says when it has the first message: by ending its side of the call.
            while incoming.next::<Message>().await.is_some() {}
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            eprintln!("falling over in mid-stream");
            std::process::abort();
        }
        "Endless" => {
            let mut body = answer.begin().await;
            loop {
                let data = frame(&request);
                body.reserve_capacity(data.len());
                match std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
                    Some(Ok(capacity)) if capacity >= data.len() => drop(body.send_data(data, false)),
                    Some(Ok(_)) => tokio::task::yield_now().await,
                    _ => return,
                }
            }
        }
        _ => answer.status(Code::Unimplemented, b"not here"),
    }
}
