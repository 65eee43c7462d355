//! The official interoperability client of grpc-go, every case that needs no Google credentials, through the
//! gateway to a `grpc.testing.TestService` behind it. The client is what
//! `go install google.golang.org/grpc/interop/client@latest` builds.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::local::framed;
use super::support::*;
use super::tools::{run, tool};
use crate::gateway::{Address, Limits, Listen, RequestBody};

const CASES: [&str; 15] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
];

/// `grpc.testing.Payload`.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "bytes", tag = "2")]
    body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct EchoStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseParameters {
    #[prost(int32, tag = "1")]
    size: i32,
    #[prost(int32, tag = "2")]
    interval_us: i32,
}

/// `SimpleRequest` and `StreamingOutputCallRequest`, whose field 2 differs, as the methods differ.
#[derive(Clone, PartialEq, Message)]
struct Simple {
    #[prost(int32, tag = "2")]
    response_size: i32,
    #[prost(message, optional, tag = "7")]
    response_status: Option<EchoStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct Streaming {
    #[prost(message, repeated, tag = "2")]
    response_parameters: Vec<ResponseParameters>,
    #[prost(message, optional, tag = "7")]
    response_status: Option<EchoStatus>,
}

/// `SimpleResponse`, `StreamingOutputCallResponse` and `StreamingInputCallRequest`.
#[derive(Clone, PartialEq, Message)]
struct WithPayload {
    #[prost(message, optional, tag = "1")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Message)]
struct Total {
    #[prost(int32, tag = "1")]
    aggregated_payload_size: i32,
}

/// Takes messages out of a body.
struct Messages {
    body: RequestBody,
    read: BytesMut,
}

type Sender = mpsc::Sender<Result<Frame<Bytes>, Status>>;

impl Messages {
    async fn next<T: Message + Default>(&mut self) -> Result<Option<T>, Status> {
        loop {
            if let Some(length) = self.read.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.read.len() >= 5 + length {
                    self.read.advance(5);
                    return Ok(Some(T::decode(self.read.split_to(length)).unwrap()));
                }
            }
            match self.body.frame().await.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.read.extend_from_slice(&data),
                _ => return Ok(None),
            }
        }
    }
}

fn payload(size: i32) -> Result<Frame<Bytes>, Status> {
    let body = vec![0; size as usize].into();
    Ok(Frame::data(framed(&WithPayload { payload: Some(Payload { body }) })))
}

fn asked(status: Option<EchoStatus>) -> Result<(), Status> {
    match status {
        Some(status) if status.code != 0 => Err(Status::new(Code::from_i32(status.code), status.message)),
        _ => Ok(()),
    }
}

async fn test_service(request: Request<RequestBody>) -> Result<Response<MockBody>, Status> {
    let (head, body) = request.into_parts();
    let method = head.uri.path().strip_prefix("/grpc.testing.TestService/").map(str::to_owned);
    let known = ["EmptyCall", "UnaryCall", "StreamingInputCall", "StreamingOutputCall", "FullDuplexCall"];
    let Some(method) = method.filter(|method| known.contains(&method.as_str())) else {
        return Err(Status::unimplemented("no such method"));
    };
    let (sender, receiver) = mpsc::channel(1);
    let mut trailers = ok_trailers();
    if let Some(value) = head.headers.get("x-grpc-test-echo-trailing-bin") {
        trailers.insert("x-grpc-test-echo-trailing-bin", value.clone());
    }
    tokio::spawn(async move {
        let requests = Messages { body, read: BytesMut::new() };
        let end = converse(&method, requests, &sender).await;
        let _ = sender.send(end.map(|()| Frame::trailers(trailers))).await;
    });
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver)).boxed_unsync();
    let mut response = response(body);
    let headers: &mut HeaderMap = response.headers_mut();
    if let Some(value) = head.headers.get("x-grpc-test-echo-initial") {
        headers.insert("x-grpc-test-echo-initial", value.clone());
    }
    Ok(response)
}

async fn converse(method: &str, mut requests: Messages, responses: &Sender) -> Result<(), Status> {
    let gone = |_| Status::cancelled("the caller is gone");
    match method {
        "EmptyCall" => responses.send(Ok(Frame::data(framed(&())))).await.map_err(gone),
        "UnaryCall" => {
            let request = requests.next::<Simple>().await?.unwrap_or_default();
            asked(request.response_status)?;
            responses.send(payload(request.response_size)).await.map_err(gone)
        }
        "StreamingInputCall" => {
            let mut total = 0;
            while let Some(request) = requests.next::<WithPayload>().await? {
                total += request.payload.unwrap_or_default().body.len() as i32;
            }
            let total = Total { aggregated_payload_size: total };
            responses.send(Ok(Frame::data(framed(&total)))).await.map_err(gone)
        }
        _ => {
            while let Some(request) = requests.next::<Streaming>().await? {
                for wanted in request.response_parameters {
                    let pause = std::time::Duration::from_micros(wanted.interval_us as u64);
                    tokio::time::sleep(pause).await;
                    responses.send(payload(wanted.size)).await.map_err(gone)?;
                }
                asked(request.response_status)?;
            }
            Ok(())
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_interop_client_of_grpc_go_passes() {
    let Some(client) = tool("client") else { return };
    let listen = vec![Listen::InsecureTcp { address: "127.0.0.1:0".parse().unwrap() }];
    let running =
        start_with(upstream(test_service), Limits::default(), listen, None, Default::default()).await;
    let Address::InsecureTcp(address) = running.handle.addresses()[0] else { panic!("no TCP") };
    for case in CASES {
        let arguments = [
            "--server_host=127.0.0.1".to_owned(),
            format!("--server_port={}", address.port()),
            format!("--test_case={case}"),
        ];
        let (success, text) = run(&client, &arguments).await;
        assert!(success, "{case}: {text}");
    }
}
