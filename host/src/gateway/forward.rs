//! One call: its head, messages and trailers, in both directions.
//!
//! Nothing is decoded. Response bytes are pulled from upstream only as the client's windows allow, with one
//! frame in hand, so that trailers get through a closed window and a stalled client costs little.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{ALLOW, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::time::timeout;
use tonic::{Code, Status};
use tower_service::Service;

use super::admit::{Place, Refusal, admit};
use super::meter::Metered;
use super::pages;
use super::principal::Caller;
use super::request_body::{EndsRequest, Link, RequestBody};
use super::serve::{Shared, Upstream};
use crate::code::code_of;

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
///
/// There are as many of these futures as calls in flight, each made, moved and forgotten with its call: what is
/// large is not kept over an `await`.
pub(super) async fn forward<U: Upstream>(
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    mut upstream: U,
    mut request: Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
) -> Ended {
    let is_head = request.method() == Method::HEAD;
    let mut metered = shared.calls.begin(&mut request);
    let Prepared { request, place, ends_request: _ends_request } = match prepare(&shared, &caller, request) {
        Ok(prepared) => prepared,
        Err((Refusal::Grpc(status), _)) => return refuse(reply, status, &mut metered),
        Err((Refusal::Http(status, text), recv)) => {
            metered.is_no_call();
            return Box::pin(answer_http(shared, recv, reply, pages::text(status, text))).await;
        }
        Err((Refusal::Page(page), recv)) => {
            metered.is_no_call();
            let shelf = shared.clone();
            let send = async |mut response: Response<Bytes>| {
                if is_head {
                    response.body_mut().clear();
                }
                answer_http(shared, recv, reply, response).await
            };
            return Box::pin(shelf.shelf.show(page, send)).await;
        }
    };
    // Nothing is begun for a client that has left already. Each of its resets would be one upstream, where many
    // at once cost the connection that carries everybody's calls.
    if reply.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
        return Ended::Reset;
    }
    if place == Place::Local {
        // Rare and larger: kept out of the common call's allocation.
        let mut routes = shared.local.clone();
        return Box::pin(async move {
            let response = pin!(async { routes.call(request).await.map_err(|never| match never {}) });
            match begin(answer(response, &mut reply).await, reply, &mut metered) {
                Ok((send, body)) => pump(send, body, &mut metered).await,
                Err(ended) => ended,
            }
        })
        .await;
    }
    let ready = unless_reset(&mut reply, |cx| upstream.poll_ready(cx)).await;
    let begun = match ready {
        // Dropped before the body flows: what it holds, such as a place in a queue, is not needed then.
        Some(Ok(())) => begin(answer(pin!(upstream.call(request)), &mut reply).await, reply, &mut metered),
        Some(Err(status)) => Err(refuse(reply, status, &mut metered)),
        None => Err(Ended::Reset),
    };
    match begun {
        Ok((send, body)) => pump(send, body, &mut metered).await,
        Err(ended) => ended,
    }
}

/// A call that may go on.
struct Prepared {
    request: Request<RequestBody>,
    place: Place,
    /// Ends the request with the call, however that ends.
    ends_request: Option<EndsRequest>,
}

/// Judges a call and takes what came with its head.
fn prepare(
    shared: &Shared,
    caller: &Caller,
    request: Request<RecvStream>,
) -> Result<Prepared, (Refusal, RecvStream)> {
    let (mut head, recv) = request.into_parts();
    match admit(shared, caller, &mut head) {
        Ok(place) => {
            let (body, ends_request) = receive(recv);
            Ok(Prepared { request: Request::from_parts(head, body), place, ends_request })
        }
        Err(refusal) => Err((refusal, recv)),
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
fn receive(mut recv: RecvStream) -> (RequestBody, Option<EndsRequest>) {
    if recv.is_end_stream() {
        return (RequestBody::empty(), None);
    }
    // Whoever reads on registers its own waker.
    let first = match recv.poll_data(&mut Context::from_waker(Waker::noop())) {
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

/// Waits for the response; `None` when the client leaves first.
async fn answer<B>(
    mut response: Pin<&mut impl Future<Output = Result<Response<B>, Status>>>,
    reply: &mut SendResponse<Bytes>,
) -> Option<Result<Response<B>, Status>> {
    unless_reset(reply, |cx| response.as_mut().poll(cx)).await
}

/// Polls on; `None` when the client leaves first.
async fn unless_reset<T>(
    reply: &mut SendResponse<Bytes>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    poll_fn(|cx| match poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => reply.poll_reset(cx).map(|_| None),
    })
    .await
}

/// Hands on the head of a response; its body, when there is one, is left to do.
fn begin<B>(
    answer: Option<Result<Response<B>, Status>>,
    mut reply: SendResponse<Bytes>,
    metered: &mut Metered,
) -> Result<(SendStream<Bytes>, B), Ended>
where
    B: Body<Data = Bytes, Error = Status>,
{
    let (head, body) = match answer {
        Some(Ok(response)) => response.into_parts(),
        Some(Err(status)) => return Err(refuse(reply, status, metered)),
        None => return Err(Ended::Reset),
    };
    let ends_here = body.is_end_stream();
    let status = code_of(&head.headers);
    let mut wire_head = Response::new(());
    *wire_head.status_mut() = head.status;
    *wire_head.headers_mut() = head.headers;
    match reply.send_response(wire_head, ends_here) {
        Ok(_) if ends_here => {
            metered.ends_with(status.unwrap_or(Code::Unknown));
            Err(Ended::Answered)
        }
        Ok(send) => Ok((send, body)),
        Err(error) => {
            tracing::debug!(%error, "cannot hand on the head of a response");
            reply.send_reset(Reason::INTERNAL_ERROR);
            metered.ends_with(Code::Internal);
            Err(Ended::Answered)
        }
    }
}

/// Hands on a response's messages and trailers.
async fn pump<B>(mut send: SendStream<Bytes>, body: B, metered: &mut Metered) -> Ended
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
                Err(frame) => return end(send, frame.into_trailers().unwrap_or_default(), metered),
            },
            Some(Some(Err(status))) => return end(send, trailers_of(&status), metered),
            Some(None) => {
                metered.ends_with(Code::Unknown);
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
        if hand_over(&mut send, data).await.is_err() {
            return Ended::Reset;
        }
    }
}

/// The client has left its call.
struct Gone;

/// Hands a piece over as soon as the client's windows allow some of it. It is handed over whole: a large one is one frame then, if the
/// client takes such.
async fn hand_over(send: &mut SendStream<Bytes>, data: Bytes) -> Result<(), Gone> {
    window(send, data.len()).await?;
    send.send_data(data, false).map_err(|_| Gone)
}

/// Sends all of it, as the client's windows allow.
async fn write(send: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), Gone> {
    while !data.is_empty() {
        let granted = window(send, data.len()).await?;
        send.send_data(data.split_to(granted.min(data.len())), false).map_err(|_| Gone)?;
    }
    Ok(())
}

/// Waits until some of so many bytes may be sent. Gives how many.
async fn window(send: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, Gone> {
    send.reserve_capacity(wanted);
    match send.capacity() {
        0 if wanted > 0 => poll_fn(|cx| send.poll_capacity(cx)).await.and_then(Result::ok).ok_or(Gone),
        granted => Ok(granted),
    }
}

fn end(mut send: SendStream<Bytes>, trailers: HeaderMap, metered: &mut Metered) -> Ended {
    let status = code_of(&trailers);
    match send.send_trailers(trailers) {
        Ok(()) => {
            metered.ends_with(status.unwrap_or(Code::Unknown));
            Ended::Answered
        }
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
fn refuse(mut reply: SendResponse<Bytes>, status: Status, metered: &mut Metered) -> Ended {
    metered.ends_with(status.code());
    match reply.send_response(status.into_http(), true) {
        Ok(_) => Ended::Answered,
        Err(_) => Ended::Reset,
    }
}

/// Answers what is no gRPC call. Nobody keeps it waiting for long.
async fn answer_http(
    shared: Arc<Shared>,
    recv: RecvStream,
    mut reply: SendResponse<Bytes>,
    mut response: Response<Bytes>,
) -> Ended {
    let patience = shared.limits.handshake_timeout;
    if let Ok(Err(_)) = timeout(patience, discard(recv)).await {
        return Ended::Reset;
    }
    let body = std::mem::take(response.body_mut());
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let Ok(mut send) = reply.send_response(response.map(drop), false) else { return Ended::Reset };
    let sent = timeout(patience, write(&mut send, body)).await;
    match sent {
        Ok(Ok(())) if send.send_data(Bytes::new(), true).is_ok() => Ended::Answered,
        Ok(_) => Ended::Reset,
        Err(_) => {
            send.send_reset(Reason::CANCEL);
            Ended::Answered
        }
    }
}
