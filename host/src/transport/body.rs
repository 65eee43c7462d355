//! Response bodies.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::send::Pump;
use super::{CallError, Stream, StreamError};

/// Body of a response, whichever lane it came through.
#[derive(Debug)]
pub struct ResponseBody(Kind);

#[derive(Debug)]
enum Kind {
    Http2(Http2Body),
    InProcess(tonic::body::Body),
}

#[derive(Debug)]
struct Http2Body {
    recv: RecvStream,
    // Ends with the body: a request that nobody answers any more needs no more sending.
    pump: Option<Pump>,
    _stream: Stream,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Data,
    Trailers,
    Done,
}

impl ResponseBody {
    pub(super) fn http2(recv: RecvStream, pump: Option<Pump>, stream: Stream) -> Self {
        let state = if recv.is_end_stream() { State::Done } else { State::Data };
        Self(Kind::Http2(Http2Body { recv, pump, _stream: stream, state }))
    }

    pub(super) fn in_process(body: tonic::body::Body) -> Self {
        Self(Kind::InProcess(body))
    }
}

/// How a body fails: the call did, or the service in this process gave a status.
#[derive(Debug)]
pub(crate) enum BodyError {
    Call(CallError),
    Status(Status),
}

impl ResponseBody {
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Http2(body) => body.poll_next(cx).map_err(BodyError::Call),
            Kind::InProcess(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Status),
        }
    }
}

impl Http2Body {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        if self.state == State::Data {
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) => {
                    // The reader has taken the bytes: the peer may send as many again. An error here means
                    // that the stream is over, which the next poll tells better.
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return self.fail(error),
                None => self.state = State::Trailers,
            }
        }
        if self.state == State::Trailers {
            match ready!(self.recv.poll_trailers(cx)) {
                Ok(trailers) => {
                    self.state = State::Done;
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Err(error) => return self.fail(error),
            }
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, error: h2::Error) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        self.state = State::Done;
        if let Some(failure) = self.pump.as_ref().and_then(Pump::failure) {
            return Poll::Ready(Some(Err(failure)));
        }
        match error.reason() {
            // A server that has answered and does not want the rest of the request says so with NO_ERROR.
            Some(Reason::NO_ERROR) if error.is_reset() => Poll::Ready(None),
            _ => Poll::Ready(Some(Err(StreamError::from(error).into()))),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.get_mut().poll_next(cx).map_err(|error| match error {
            BodyError::Call(CallError::Stream(error)) => Status::new(error.code(), error.to_string()),
            BodyError::Call(error) => Status::from_error(Box::new(error)),
            BodyError::Status(status) => status,
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http2(body) => body.state == State::Done,
            Kind::InProcess(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http2(_) => SizeHint::default(),
            Kind::InProcess(body) => body.size_hint(),
        }
    }
}
