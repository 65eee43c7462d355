//! A gRPC server on bare HTTP/2, so that every frame of an answer can be wrong.

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::net::UnixStream;
use tonic::Code;

use super::{Mode, contract, health, reflection, service};

/// The messages of a request.
pub(super) struct Incoming {
    body: RecvStream,
    buffer: BytesMut,
}

/// The answer to a request.
pub(super) struct Answer(SendResponse<Bytes>);

pub(super) async fn serve(stream: UnixStream, mode: Mode) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    if mode == "goaway-at-once" {
        connection.graceful_shutdown();
    }
    while let Some(Ok((request, respond))) = connection.accept().await {
        match mode {
            "goaway-with-error" => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
            // After handshake, phases and reflection: a plugin that was ready.
            "closes-when-called" if request.uri().path().starts_with(service::PREFIX) => return,
            "resets-everything" => {
                let mut respond = respond;
                respond.send_reset(Reason::INTERNAL_ERROR);
                continue;
            }
            _ => {}
        }
        tokio::spawn(answer(request, Answer(respond), mode));
    }
}

async fn answer(request: Request<RecvStream>, answer: Answer, mode: Mode) {
    let path = request.uri().path().to_owned();
    let mut incoming = Incoming { body: request.into_body(), buffer: BytesMut::new() };
    if let Some(method) = path.strip_prefix("/plugmesh.plugin.v1.PluginService/") {
        contract::answer(method, &mut incoming, answer, mode).await;
    } else if let Some(method) = path.strip_prefix("/grpc.health.v1.Health/") {
        health::answer(method, answer, mode).await;
    } else if path.starts_with("/grpc.reflection.v1.") {
        reflection::answer(&mut incoming, answer, mode).await;
    } else if let Some(method) = path.strip_prefix(service::PREFIX) {
        service::answer(method, &mut incoming, answer).await;
    } else {
        answer.status(Code::Unimplemented, b"not here");
    }
}

impl Incoming {
    /// The next message; `None` at the end of the stream, or of the caller.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    let message = self.buffer.split_to(5 + length).freeze().slice(5..);
                    return Some(M::decode(message).expect("the host sends what it should"));
                }
            }
            let data = self.body.data().await?.ok()?;
            let _ = self.body.flow_control().release_capacity(data.len());
            self.buffer.extend_from_slice(&data);
        }
    }
}

impl Answer {
    /// One message and OK.
    pub(super) async fn message(self, message: &impl Message) {
        let mut body = self.begin().await;
        let _ = body.send_data(frame(message), false);
        end(body, Code::Ok, b"");
    }

    /// A status without a message.
    pub(super) fn status(mut self, code: Code, message: &[u8]) {
        let mut response = response();
        *response.headers_mut() = trailers(code, message);
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        let _ = self.0.send_response(response, true);
    }

    /// The head of a gRPC response, and the way to its body.
    pub(super) async fn begin(self) -> SendStream<Bytes> {
        self.begin_with(response()).await
    }

    /// Any head.
    pub(super) async fn begin_with(mut self, response: Response<()>) -> SendStream<Bytes> {
        match self.0.send_response(response, false) {
            Ok(body) => body,
            // The connection is gone, and with it whoever wanted to know.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn reset(mut self, reason: Reason) {
        self.0.send_reset(reason);
    }
}

pub(super) fn response() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

/// A message as gRPC frames it.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.encoded_len());
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

/// Trailers with a status.
pub(super) fn trailers(code: Code, message: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code as i32));
    if !message.is_empty() {
        trailers.insert("grpc-message", HeaderValue::from_bytes(message).unwrap());
    }
    trailers
}

pub(super) fn end(mut body: SendStream<Bytes>, code: Code, message: &[u8]) {
    let _ = body.send_trailers(trailers(code, message));
}
