//! One call: its head, messages and trailers, in both directions.
//!
//! Nothing is decoded. Response bytes are pulled from upstream only as the client's windows allow, with one
//! frame in hand, so that trailers get through a closed window and a stalled client costs little.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::time::timeout;
use tonic::Status;
use tower_service::Service;

use super::admit::{Place, Refusal, admit};
use super::principal::Caller;
use super::request_body::{EndsRequest, Link, RequestBody};
use super::serve::{Shared, Upstream};

/// A response's first bytes, up to this many, are handed over without asking for window first: most calls
/// have no more, and one frame more or less waiting for a stalled client does not matter.
const UNASKED: usize = 16 << 10;

/// How a call ended, as far as the connection cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The gateway ended it, whatever the status.
    Answered,
    /// The client went away from it.
    Reset,
}

/// Answers one call.
pub(super) async fn forward<U: Upstream>(
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    mut upstream: U,
    request: Request<RecvStream>,
    reply: SendResponse<Bytes>,
) -> Ended {
    let (mut head, recv) = request.into_parts();
    let place = match admit(&shared, &caller, &mut head) {
        Ok(place) => place,
        Err(refusal @ Refusal::Http(..)) => {
            let patience = shared.limits.handshake_timeout;
            return match timeout(patience, discard(recv)).await {
                Ok(Err(_)) => Ended::Reset,
                Ok(Ok(())) | Err(_) => refuse(reply, refusal),
            };
        }
        Err(refusal) => return refuse(reply, refusal),
    };
    let (body, ends_request) = receive(recv).await;
    let request = Request::from_parts(head, body);
    match place {
        Place::Upstream => {
            let response = async move {
                poll_fn(|cx| upstream.poll_ready(cx)).await?;
                upstream.call(request).await
            };
            exchange(response, reply, ends_request).await
        }
        // Rare and larger: kept out of the common call's allocation.
        Place::Local => {
            let mut routes = shared.local.clone();
            let response = async move {
                let response = routes.call(request).await.unwrap_or_else(|never| match never {});
                Ok(response)
            };
            Box::pin(exchange(response, reply, ends_request)).await
        }
    }
}

/// Reads a request that is no gRPC call, as other HTTP servers do before they answer: not every client takes
/// an answer while it is sending. Not for ever, though.
async fn discard(mut recv: RecvStream) -> Result<(), h2::Error> {
    const ENOUGH: usize = 64 << 10;
    let mut left = ENOUGH;
    while let Some(data) = recv.data().await.transpose()? {
        recv.flow_control().release_capacity(data.len())?;
        left = left.saturating_sub(data.len());
        if left == 0 {
            return Ok(());
        }
    }
    recv.trailers().await.map(drop)
}

/// Takes what came with the head; a request that came whole needs nothing more from its stream.
async fn receive(mut recv: RecvStream) -> (RequestBody, Option<EndsRequest>) {
    if recv.is_end_stream() {
        return (RequestBody::empty(), None);
    }
    let first = match poll_fn(|cx| Poll::Ready(recv.poll_data(cx))).await {
        Poll::Ready(Some(Ok(data))) => Some(data),
        // What is wrong with it shows again when it is read.
        Poll::Ready(Some(Err(_)) | None) | Poll::Pending => None,
    };
    if let Some(data) = &first
        && recv.is_end_stream()
    {
        // Refused only for a stream that is gone.
        let _ = recv.flow_control().release_capacity(data.len());
        return (first.unwrap_or_default().into(), None);
    }
    let link = Arc::new(Link::default());
    (RequestBody::streaming(recv, first, link.clone()), Some(EndsRequest(link)))
}

/// Waits for the response and hands it on. The request ends with the call, however that ends.
async fn exchange<F, B>(
    response: F,
    mut reply: SendResponse<Bytes>,
    _ends_request: Option<EndsRequest>,
) -> Ended
where
    F: Future<Output = Result<Response<B>, Status>>,
    B: Body<Data = Bytes, Error = Status>,
{
    // Nothing is begun for a client that has left already. Each of its resets would be one upstream, where many
    // at once cost the connection that carries everybody's calls.
    if poll_fn(|cx| Poll::Ready(reply.poll_reset(cx).is_ready())).await {
        return Ended::Reset;
    }
    let mut response = pin!(Some(response));
    let answer = poll_fn(|cx| {
        if let Some(response) = response.as_mut().as_pin_mut()
            && let Poll::Ready(answer) = response.poll(cx)
        {
            return Poll::Ready(Some(answer));
        }
        reply.poll_reset(cx).map(|_| None)
    })
    .await;
    // What the future holds, such as a place in a queue, is not needed while the body flows.
    response.set(None);
    let (head, body) = match answer {
        Some(Ok(response)) => response.into_parts(),
        Some(Err(status)) => return refuse(reply, Refusal::Grpc(status)),
        None => return Ended::Reset,
    };
    let ends_here = body.is_end_stream();
    let mut wire_head = Response::new(());
    *wire_head.status_mut() = head.status;
    *wire_head.headers_mut() = head.headers;
    match reply.send_response(wire_head, ends_here) {
        Ok(_) if ends_here => Ended::Answered,
        Ok(send) => pump(send, body).await,
        Err(error) => {
            tracing::debug!(%error, "cannot hand on the head of a response");
            reply.send_reset(Reason::INTERNAL_ERROR);
            Ended::Answered
        }
    }
}

/// Hands on a response's messages and trailers.
async fn pump<B>(mut send: SendStream<Bytes>, body: B) -> Ended
where
    B: Body<Data = Bytes, Error = Status>,
{
    let mut body = pin!(body);
    let mut unasked = UNASKED;
    loop {
        let frame = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => send.poll_reset(cx).map(|_| None),
        })
        .await;
        let data = match frame {
            Some(Some(Ok(frame))) => match Frame::into_data(frame) {
                Ok(data) => data,
                Err(frame) => return end(send, frame.into_trailers().unwrap_or_default()),
            },
            Some(Some(Err(status))) => return end(send, trailers_of(&status)),
            Some(None) => {
                return if send.send_data(Bytes::new(), true).is_ok() {
                    Ended::Answered
                } else {
                    Ended::Reset
                };
            }
            None => return Ended::Reset,
        };
        if let Some(left) = unasked.checked_sub(data.len()) {
            unasked = left;
            if send.send_data(data, false).is_err() {
                return Ended::Reset;
            }
            continue;
        }
        unasked = 0;
        if write(&mut send, data).await.is_err() {
            return Ended::Reset;
        }
    }
}

/// The client has left its call.
struct Gone;

/// Sends as the client's windows allow.
async fn write(send: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), Gone> {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let mut granted = send.capacity();
        if granted == 0 {
            granted = poll_fn(|cx| send.poll_capacity(cx)).await.and_then(Result::ok).ok_or(Gone)?;
        }
        let piece = data.split_to(granted.min(data.len()));
        send.send_data(piece, false).map_err(|_| Gone)?;
    }
    Ok(())
}

fn end(mut send: SendStream<Bytes>, trailers: HeaderMap) -> Ended {
    match send.send_trailers(trailers) {
        Ok(()) => Ended::Answered,
        Err(_) => Ended::Reset,
    }
}

fn trailers_of(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(4);
    // Fails only for metadata that is no header; the code is worth more than it.
    if status.add_header(&mut trailers).is_err() {
        trailers.clear();
        trailers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    trailers
}

/// Answers without a response from elsewhere.
fn refuse(mut reply: SendResponse<Bytes>, refusal: Refusal) -> Ended {
    let sent = match refusal {
        Refusal::Grpc(status) => reply.send_response(status.into_http(), true).map(drop),
        Refusal::Http(status, text) => {
            let mut response = Response::new(());
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            if status == StatusCode::METHOD_NOT_ALLOWED
                && let Ok(post) = HeaderValue::from_str(Method::POST.as_str())
            {
                response.headers_mut().insert(ALLOW, post);
            }
            let send = reply.send_response(response, false);
            send.and_then(|mut send| send.send_data(Bytes::from_static(text.as_bytes()), true))
        }
    };
    if sent.is_ok() { Ended::Answered } else { Ended::Reset }
}
