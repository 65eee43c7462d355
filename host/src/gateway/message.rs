//! Bounds the gRPC messages in a body without decoding them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::limits::MaxMessage;

/// A gRPC message is preceded by a flag byte and its length, big-endian.
const PREFIX: usize = 5;

pin_project_lite::pin_project! {
    /// Passes a body on until a gRPC message in it announces more bytes than allowed.
    ///
    /// What precedes that message is still passed on, then the body ends with `RESOURCE_EXHAUSTED`, which
    /// names the limit, whose it is and the setting. Frames are handed through as they are.
    #[derive(Debug)]
    pub struct MessageLimit<B> {
        #[pin]
        body: B,
        counter: MessageCounter,
        failed: Option<Status>,
    }
}

/// Finds the messages in bytes that come in pieces of any size.
#[derive(Debug)]
pub(super) struct MessageCounter {
    max: MaxMessage,
    /// Bytes still to come of the message under way.
    remaining: u64,
    /// The prefix under way, of which `have` bytes came. Used only when a prefix is torn over two pieces.
    prefix: [u8; PREFIX],
    have: usize,
}

/// A message larger than allowed begins at byte `at` of the piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) at: usize,
    pub(super) bytes: u64,
}

impl MessageCounter {
    pub(super) fn new(max: MaxMessage) -> Self {
        Self { max, remaining: 0, prefix: [0; PREFIX], have: 0 }
    }

    /// Counts one more piece.
    pub(super) fn advance(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        let mut rest = piece;
        loop {
            let skipped = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(rest.len());
            self.remaining -= skipped as u64;
            rest = rest.get(skipped..).unwrap_or_default();
            let at = piece.len() - rest.len();
            let length = match rest.split_first_chunk::<PREFIX>() {
                Some((prefix, after)) if self.have == 0 => {
                    rest = after;
                    length_in(*prefix)
                }
                _ => match self.fill_prefix(&mut rest) {
                    Some(length) => length,
                    None => return Ok(()),
                },
            };
            if length > self.max.bytes {
                return Err(TooLarge { at, bytes: length });
            }
            self.remaining = length;
        }
    }

    /// What the caller is told.
    pub(super) fn refusal(&self, bytes: u64) -> Status {
        let MaxMessage { bytes: limit, owner } = &self.max;
        Status::resource_exhausted(format!(
            "a message of {bytes} bytes is larger than the limit of {limit} bytes, which is set by {owner}: \
             raise max_message_size there, or send smaller messages"
        ))
    }

    /// Takes what belongs to a torn prefix; the length once it is whole.
    fn fill_prefix(&mut self, rest: &mut &[u8]) -> Option<u64> {
        let free = self.prefix.get_mut(self.have..)?;
        let count = free.len().min(rest.len());
        let (taken, after) = rest.split_at_checked(count)?;
        free.iter_mut().zip(taken).for_each(|(slot, byte)| *slot = *byte);
        *rest = after;
        self.have += count;
        if self.have < PREFIX {
            return None;
        }
        self.have = 0;
        Some(length_in(self.prefix))
    }
}

fn length_in([_, a, b, c, d]: [u8; PREFIX]) -> u64 {
    u32::from_be_bytes([a, b, c, d]).into()
}

impl<B> MessageLimit<B> {
    /// Bounds the messages in `body`.
    pub fn new(body: B, max: MaxMessage) -> Self {
        Self { body, counter: MessageCounter::new(max), failed: None }
    }
}

impl<B: Body<Data = Bytes, Error = Status>> Body for MessageLimit<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if let Some(status) = this.failed.take() {
            return Poll::Ready(Some(Err(status)));
        }
        let frame = match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        let Some(data) = frame.data_ref() else { return Poll::Ready(Some(Ok(frame))) };
        match this.counter.advance(data) {
            Ok(()) => Poll::Ready(Some(Ok(frame))),
            Err(TooLarge { at: 0, bytes }) => Poll::Ready(Some(Err(this.counter.refusal(bytes)))),
            Err(TooLarge { at, bytes }) => {
                *this.failed = Some(this.counter.refusal(bytes));
                Poll::Ready(Some(Ok(Frame::data(data.slice(..at)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn counter(bytes: u64) -> MessageCounter {
        MessageCounter::new(MaxMessage { bytes, owner: "plugin text".into() })
    }

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX + length as usize, 7);
        bytes
    }

    #[test]
    fn messages_are_found_however_the_bytes_are_torn() {
        let bytes = [message(3), message(0), message(10), message(11), message(2)].concat();
        let begin = 3 * PREFIX + 13;
        for size in 1..=bytes.len() {
            let mut counter = counter(10);
            let mut seen = 0;
            let error = bytes.chunks(size).find_map(|piece| {
                let result = counter.advance(piece).err();
                seen += if result.is_none() { piece.len() } else { 0 };
                result
            });
            let error = error.expect("the fourth message is too large");
            assert_eq!(error.bytes, 11, "in pieces of {size}");
            // A torn prefix has partly gone by when its length is known.
            assert!(seen + error.at >= begin && seen + error.at < begin + PREFIX, "in pieces of {size}");
        }
    }

    #[test]
    fn messages_at_the_limit_pass() {
        let mut counter = counter(10);
        assert_eq!(counter.advance(&[message(10), message(10)].concat()), Ok(()));
    }

    #[tokio::test]
    async fn what_precedes_a_large_message_is_passed_on() {
        let bytes = Bytes::from([message(3), message(11)].concat());
        let body = Full::new(bytes.clone()).map_err(|never| match never {});
        let max = MaxMessage { bytes: 10, owner: "plugin text".into() };
        let mut limited = MessageLimit::new(body, max);
        let first = limited.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, bytes.slice(..PREFIX + 3));
        let status = limited.frame().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "a message of 11 bytes is larger than the limit of 10 bytes, which is set by plugin text: \
             raise max_message_size there, or send smaller messages"
        );
    }
}
