//! What callers read: the body of a response, whoever gave it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::call::LiveBody;
use super::outcome::Outcome;
use super::record::Record;

/// Body of a response to a call. The call ends with it: at the trailers, at an error, or when it is dropped.
#[derive(Debug)]
pub struct CallBody(Kind);

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are live, and a box for each would cost every call")]
enum Kind {
    /// As an instance sends it.
    Live(LiveBody),
    /// At least its begin is there already. Boxed: most are not.
    Kept(Box<Kept>),
}

#[derive(Debug)]
struct Kept {
    data: Option<Bytes>,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Trailers(HeaderMap),
    Live(LiveBody),
    Nothing,
}

impl CallBody {
    /// One that is there already.
    pub(super) fn kept(data: Bytes, trailers: HeaderMap) -> Self {
        Self(Kind::Kept(Box::new(Kept { data: Some(data), then: Then::Trailers(trailers) })))
    }

    /// One of which the first part has been read.
    pub(super) fn resumed(data: Bytes, rest: Self) -> Self {
        let live = match rest.0 {
            Kind::Live(live) => live,
            Kind::Kept(_) => return rest,
        };
        Self(Kind::Kept(Box::new(Kept { data: Some(data), then: Then::Live(live) })))
    }

    fn attach(&mut self, record: Record) {
        match &mut self.0 {
            Kind::Live(live) => live.attach(record),
            Kind::Kept(kept) => match &mut kept.then {
                Then::Live(live) => live.attach(record),
                // Nothing can become of it any more.
                Then::Trailers(trailers) => record.end_now(code(trailers)),
                Then::Nothing => {}
            },
        }
    }
}

fn code(headers: &HeaderMap) -> tonic::Code {
    Outcome::of(headers).map_or(tonic::Code::Unknown, Outcome::code)
}

/// What has become of the call that `record` is of is what becomes of `response`.
pub(super) fn follow(response: &mut Response<CallBody>, record: Record) {
    match Outcome::of(response.headers()) {
        Some(outcome) => record.end_now(outcome.code()),
        None => response.body_mut().attach(record),
    }
}

impl From<LiveBody> for CallBody {
    fn from(live: LiveBody) -> Self {
        Self(Kind::Live(live))
    }
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let kept = match &mut self.get_mut().0 {
            Kind::Live(live) => return Pin::new(live).poll_frame(cx),
            Kind::Kept(kept) => kept,
        };
        if let Some(data) = kept.data.take().filter(|data| !data.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match std::mem::replace(&mut kept.then, Then::Nothing) {
            Then::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Then::Live(mut live) => {
                let polled = Pin::new(&mut live).poll_frame(cx);
                kept.then = Then::Live(live);
                polled
            }
            Then::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Live(live) => live.is_end_stream(),
            Kind::Kept(kept) => {
                kept.data.is_none()
                    && match &kept.then {
                        Then::Trailers(_) => false,
                        Then::Live(live) => live.is_end_stream(),
                        Then::Nothing => true,
                    }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Live(live) => live.size_hint(),
            Kind::Kept(_) => SizeHint::default(),
        }
    }
}
