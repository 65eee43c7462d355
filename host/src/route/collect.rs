//! Reading a body that has an end, if it comes soon enough.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};

use super::replay::Held;
use crate::BoxError;

/// What has been read of a body.
#[derive(Debug)]
pub(super) enum Collected<B> {
    /// All of it.
    Whole(Bytes, Option<HeaderMap>),
    /// So much, and the rest is still to come: it is more than wanted.
    Part(Bytes, B),
}

/// Reads up to `max` bytes of a body and its trailers, in memory that `held` has room for. Many small frames cost no more than
/// one large one.
pub(super) async fn collect<B>(mut body: B, max: u64, held: &mut Held) -> Result<Collected<B>, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut all: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await.transpose()? {
        match frame.into_data() {
            Ok(data) => {
                let fits = all.len() as u64 + data.len() as u64 <= max && held.take(data.len() as u64);
                all.extend_from_slice(&data);
                if !fits {
                    return Ok(Collected::Part(all.into(), body));
                }
            }
            Err(frame) => return Ok(Collected::Whole(exact(all), frame.into_trailers().ok())),
        }
    }
    Ok(Collected::Whole(exact(all), None))
}

/// In memory of just its size.
fn exact(bytes: Vec<u8>) -> Bytes {
    bytes.into_boxed_slice().into()
}

impl<B> Collected<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// The same body once more.
    pub(super) fn into_body(self) -> tonic::body::Body {
        match self {
            // It knows that it ends, so that its end is sent with it.
            Self::Whole(data, None) => tonic::body::Body::new(Full::new(data)),
            Self::Whole(data, Some(trailers)) => {
                let trailers = async move { Some(Ok(trailers)) };
                tonic::body::Body::new(Full::new(data).with_trailers(trailers))
            }
            Self::Part(data, rest) => tonic::body::Body::new(Resumed { read: Some(data), rest }),
        }
    }
}

/// A body of which the first part has been read.
struct Resumed<B> {
    read: Option<Bytes>,
    rest: B,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Resumed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        match this.read.take() {
            Some(read) => Poll::Ready(Some(Ok(Frame::data(read)))),
            None => Pin::new(&mut this.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::StreamBody;
    use tonic::Status;

    use super::*;
    use crate::route::replay::ReplayMemory;

    /// Frames of a byte each, and then nothing, not even an end.
    fn endless(frames: usize) -> impl Body<Data = Bytes, Error = Status> + Send + Unpin + 'static {
        let frames = stream::iter((0..frames).map(|_| Ok(Frame::data(Bytes::from_static(b"x")))));
        StreamBody::new(frames.chain(stream::pending()))
    }

    async fn bytes(body: tonic::body::Body, count: usize) -> usize {
        let mut body = body;
        let mut all = 0;
        while all < count {
            all += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        all
    }

    #[tokio::test]
    async fn what_is_too_large_is_handed_on_at_once_and_whole() {
        let memory = Arc::new(ReplayMemory::default());
        let mut held = Held::new(memory.clone());
        let collected =
            collect(endless(200), 100, &mut held).now_or_never().expect("it waits for no end").unwrap();
        assert!(matches!(&collected, Collected::Part(read, _) if read.len() == 101));
        assert_eq!(memory.used(), 100);
        assert_eq!(bytes(collected.into_body(), 200).await, 200);
        drop(held);
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn what_fits_is_read_to_its_end() {
        let mut held = Held::new(Arc::default());
        assert!(collect(endless(100), 100, &mut held).now_or_never().is_none(), "it waits for the end");
        let collected = collect(Full::new(Bytes::from_static(b"abc")), 3, &mut held).await.unwrap();
        assert!(matches!(&collected, Collected::Whole(all, None) if all == "abc"));
        let again = collected.into_body();
        assert!(!again.is_end_stream());
        assert_eq!(again.collect().await.unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn trailers_go_along() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "1".parse().unwrap());
        let body = |trailers| Full::new(Bytes::new()).with_trailers(async { Some(Ok(trailers)) });
        let mut held = Held::new(Arc::default());
        let collected = collect(Box::pin(body(trailers)), 3, &mut held).await.unwrap();
        let again = collected.into_body().collect().await.unwrap();
        assert_eq!(again.trailers().unwrap()["x"], "1");
    }
}
