//! gRPC messages out of the bytes of a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tonic::Status;
use tonic::codegen::http::HeaderMap;
use tonic::codegen::{Body, StdError};

/// What precedes a message: a byte that says whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The messages of a body, none of them larger than a bound.
#[derive(Debug)]
pub struct Messages<B> {
    body: B,
    /// What came and is not a whole message yet.
    chunk: Bytes,
    begun: Option<Begun>,
    most: usize,
    trailers: Option<HeaderMap>,
}

/// A message of which some is there. It has a buffer of its own, so that what is kept of it holds nothing else.
#[derive(Debug)]
struct Begun {
    prefix: [u8; PREFIX],
    prefix_len: usize,
    message: BytesMut,
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    /// Messages of at most so many bytes.
    pub fn new(body: B, most: usize) -> Self {
        Self { body, chunk: Bytes::new(), begun: None, most, trailers: None }
    }

    /// What came behind all messages.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// The next message. `None`: the peer has sent all, or its trailers, which [`trailers`](Self::trailers) has then.
    ///
    /// # Errors
    /// The stream broke, or what comes is no message, or one that is too large.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(message) = self.cut()? {
                return Poll::Ready(Ok(Some(message)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.chunk = data,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => return Poll::Ready(Err(Status::from_error(error.into()))),
                None if self.begun.is_some() => {
                    return Poll::Ready(Err(Status::internal("the stream ended in the middle of a frame")));
                }
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Takes a message out of what is there, if it is whole.
    fn cut(&mut self) -> Result<Option<Bytes>, Status> {
        if self.chunk.is_empty() {
            return Ok(None);
        }
        if self.begun.is_none()
            && let Some(prefix) = self.chunk.first_chunk()
        {
            let length = length(*prefix, self.most)?;
            if length >= SHARED && self.chunk.len() - PREFIX >= length {
                self.chunk.advance(PREFIX);
                return Ok(Some(self.chunk.split_to(length)));
            }
        }
        let begun = self.begun.get_or_insert_with(|| Begun {
            prefix: [0; PREFIX],
            prefix_len: 0,
            message: BytesMut::new(),
        });
        let wanted = PREFIX - begun.prefix_len;
        if wanted > 0 {
            let some = wanted.min(self.chunk.len());
            self.chunk.copy_to_slice(&mut begun.prefix[begun.prefix_len..begun.prefix_len + some]);
            begun.prefix_len += some;
            if begun.prefix_len < PREFIX {
                return Ok(None);
            }
            let length = length(begun.prefix, self.most)?;
            begun.message.reserve(length.min(self.chunk.len().max(FIRST_BUFFER)));
        }
        let length = length(begun.prefix, self.most)?;
        let some = (length - begun.message.len()).min(self.chunk.len());
        begun.message.extend_from_slice(&self.chunk[..some]);
        self.chunk.advance(some);
        if begun.message.len() < length {
            return Ok(None);
        }
        Ok(self.begun.take().map(|begun| begun.message.freeze()))
    }
}

/// A message of so many bytes that came whole is not copied: what it holds beside its own is no more than about the same again.
const SHARED: usize = 32 * 1024;

/// Space for a message that has begun: what is announced is not believed until it comes.
const FIRST_BUFFER: usize = 16 * 1024;

fn length(prefix: [u8; PREFIX], most: usize) -> Result<usize, Status> {
    let [compressed, length @ ..] = prefix;
    if compressed != 0 {
        return Err(Status::unimplemented("frames of events cannot be compressed"));
    }
    match u32::from_be_bytes(length) as usize {
        length if length > most => {
            Err(Status::resource_exhausted(format!("a frame has {length} bytes; {most} are allowed")))
        }
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body::Frame;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Chunks(VecDeque<Bytes>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
        }
    }

    fn all(chunks: impl IntoIterator<Item = Bytes>, most: usize) -> Result<Vec<Bytes>, Status> {
        let mut messages = Messages::new(Chunks(chunks.into_iter().collect()), most);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut found = Vec::new();
        while let Poll::Ready(Some(message)) = messages.poll_next(&mut cx)? {
            found.push(message);
        }
        Ok(found)
    }

    fn encode(message: &[u8]) -> Vec<u8> {
        [&[0], (message.len() as u32).to_be_bytes().as_slice(), message].concat()
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refused = |bytes: &[u8]| all([Bytes::copy_from_slice(bytes)], 100).unwrap_err();
        assert_eq!(refused(&[1, 0, 0, 0, 0]).code(), tonic::Code::Unimplemented);
        assert_eq!(refused(&[0, 0, 0, 0, 101]).message(), "a frame has 101 bytes; 100 are allowed");
        assert!(refused(&[0, 0, 0, 0, 9, 1]).message().contains("in the middle of a frame"));
        assert!(refused(&[0, 0]).message().contains("in the middle of a frame"));
        assert_eq!(all([], 100).unwrap(), Vec::<Bytes>::new());
    }

    proptest! {
        #[test]
        fn messages_come_out_however_the_bytes_are_cut(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
            cuts in prop::collection::vec(1usize..400, 30),
        ) {
            let mut bytes = Bytes::from(sent.iter().flat_map(|message| encode(message)).collect::<Vec<_>>());
            let mut chunks = Vec::new();
            for cut in cuts {
                chunks.push(bytes.split_to(cut.min(bytes.len())));
            }
            chunks.push(bytes);
            let found = all(chunks, 300).unwrap();
            prop_assert_eq!(found.iter().map(|message| message.to_vec()).collect::<Vec<_>>(), sent);
        }
    }
}
