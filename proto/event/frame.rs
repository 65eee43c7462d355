//! Frames that carry events, read and written without decoding one.
//!
//! Reading: [`client_frame()`] and [`bus_frame()`] tell such frames from the rest, [`EventsMessage::read`] finds the events and decodes what
//! is beside them. Writing: [`EventsBuffer`] takes events, or whole runs of them as they were read, and becomes a gRPC message.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::v1::{BusFrame, ClientFrame, Delivery, Publish, bus_frame, client_frame};
use crate::cloudevents::Draft;
use crate::wire::{Fields, WireError, field_len, put_bytes, put_head, varint_len};

/// Number of the field of a frame that carries events: `ClientFrame.publish` and `BusFrame.delivery`.
const CARRIER: u32 = 2;

/// Numbers up to this are kept for what a frame can be, so that anything else is beside it.
const LAST_OF_ONEOF: u32 = 15;

/// Number of the field with the events: `Publish.events` and `Delivery.events`.
const EVENTS: u32 = 1;

/// Its tag: it has a length.
const EVENTS_TAG: u8 = (EVENTS << 3 | 2) as u8;

/// Bytes of an event, about, to make room for as many as a frame may have.
const USUAL_EVENT: usize = 128;

/// Largest HTTP/2 frame that a host and the SDK accept from a peer on the same machine, in bytes: a whole window of a stream, so that what
/// one side has ready is one write, and wakes the other side once. Other calls of the connection wait for as long as such a write takes,
/// some fifty microseconds; over a network it would be milliseconds.
///
/// HTTP/2's own 16 KiB carry half as many small events a second, and 64 KiB nine tenths.
pub const HTTP2_FRAME: u32 = 256 * 1024;

/// Bytes of events, with their tags and lengths, that travel together at most, unless one is larger: as many as fit into one
/// [`HTTP2_FRAME`].
pub const FULL: usize = HTTP2_FRAME as usize - HEAD;

/// What precedes a message in gRPC: a byte that says that it is not compressed, and its length.
const GRPC_PREFIX: usize = 5;

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is no message.
    #[error("not an encoded frame: {0}")]
    Wire(#[from] WireError),
    /// It cannot be decoded.
    #[error("not an encoded frame: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// A frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming<F> {
    /// The encoded `Publish` or `Delivery` of one that carries events.
    Events(Bytes),
    /// Any other. `None`: one that this version does not know.
    Other(Option<F>),
}

/// Reads a frame of a participant.
///
/// # Errors
/// It is no frame.
pub fn client_frame(frame: Bytes) -> Result<Incoming<client_frame::Frame>, FrameError> {
    match carrier(&frame)? {
        Some(events) => Ok(Incoming::Events(events)),
        None => Ok(Incoming::Other(ClientFrame::decode(frame)?.frame)),
    }
}

/// Reads a frame of the bus.
///
/// # Errors
/// It is no frame.
pub fn bus_frame(frame: Bytes) -> Result<Incoming<bus_frame::Frame>, FrameError> {
    match carrier(&frame)? {
        Some(events) => Ok(Incoming::Events(events)),
        None => Ok(Incoming::Other(BusFrame::decode(frame)?.frame)),
    }
}

/// The message with the events, if that is what a frame is: of the fields of a `oneof` the last one counts.
fn carrier(frame: &Bytes) -> Result<Option<Bytes>, WireError> {
    let mut last = None;
    for field in Fields::of(frame) {
        let field = field?;
        if field.number <= LAST_OF_ONEOF {
            last = (field.number == CARRIER).then(|| field.content()).transpose()?;
        }
    }
    Ok(last.map(|content| frame.slice(content)))
}

/// A message that carries events.
pub trait EventsMessage: Message + Default {
    /// Finds the events of an encoded message, and decodes what else is in it: the answer has no events. `spans` is cleared first.
    ///
    /// # Errors
    /// It is no such message, or has more than `most` events. The events themselves were not looked at.
    fn read(message: &Bytes, most: usize, spans: &mut Vec<EventSpan>) -> Result<Self, ReadError> {
        spans.clear();
        spans.reserve((message.len() / USUAL_EVENT).min(most));
        let mut rest = BytesMut::new();
        let mut fields = Fields::of(message);
        loop {
            // Nearly all are events, and short ones.
            while let Some((whole, content, end)) = fields.short(EVENTS_TAG) {
                if spans.len() == most {
                    return Err(ReadError::TooMany { most });
                }
                spans.push(EventSpan { whole, content, end });
            }
            let Some(field) = fields.next() else { break };
            let field = field?;
            if field.number != EVENTS {
                rest.extend_from_slice(&message[field.whole]);
                continue;
            }
            if spans.len() == most {
                return Err(ReadError::TooMany { most });
            }
            let content = field.content()?;
            spans.push(EventSpan { whole: field.whole.start, content: content.start, end: content.end });
        }
        Ok(Self::decode(rest)?)
    }
}

impl EventsMessage for Publish {}
impl EventsMessage for Delivery {}

/// Why a message with events cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no message.
    #[error("not an encoded message: {0}")]
    Wire(#[from] WireError),
    /// It cannot be decoded.
    #[error("not an encoded message: {0}")]
    Decode(#[from] prost::DecodeError),
    /// More events than are allowed.
    #[error("more than {most} events in a frame")]
    TooMany {
        /// How many are allowed.
        most: usize,
    },
}

/// Where an event lies in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSpan {
    whole: usize,
    content: usize,
    end: usize,
}

impl EventSpan {
    /// The event.
    pub fn content(self) -> Range<usize> {
        self.content..self.end
    }

    /// The event with its tag and length, as [`EventsBuffer::push_run`] takes it.
    pub fn whole(self) -> Range<usize> {
        self.whole..self.end
    }
}

/// Events on their way into a frame.
#[derive(Debug)]
pub struct EventsBuffer {
    /// The events with their tags and lengths, behind room for what comes before them.
    buffer: BytesMut,
    count: usize,
}

/// Room for what comes before the events of a frame: the prefix of gRPC, tag and length of the carrier, and the other fields of a
/// message with hardly any attempts. A message with more of them is copied.
const HEAD: usize = 64;

impl EventsBuffer {
    /// An empty one, with space for so many bytes of events.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(HEAD + bytes);
        buffer.put_bytes(0, HEAD);
        Self { buffer, count: 0 }
    }

    /// Events in it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the events in it, with their tags and lengths.
    pub fn bytes(&self) -> usize {
        self.buffer.len() - HEAD
    }

    /// Adds an encoded event.
    pub fn push(&mut self, event: &[u8]) {
        put_event(event, &mut self.buffer);
        self.count += 1;
    }

    /// Adds an event that is written here for the first time.
    pub fn push_draft(&mut self, draft: &Draft<'_>) {
        self.buffer.reserve(field_len(draft.encoded_len()));
        put_head(EVENTS, draft.encoded_len(), &mut self.buffer);
        draft.put(&mut self.buffer);
        self.count += 1;
    }

    /// Adds so many events that were read side by side, with their tags and lengths.
    pub fn push_run(&mut self, run: &[u8], count: usize) {
        self.buffer.extend_from_slice(run);
        self.count += count;
    }

    /// The gRPC message of a frame: the events, and all of `head` but its events.
    pub fn finish(self, head: &impl EventsMessage) -> Bytes {
        let (head_len, events_len) = (head.encoded_len(), self.bytes());
        let carried = head_len + events_len;
        let frame = 1 + varint_len(carried as u64) + carried;
        let before = GRPC_PREFIX + frame - events_len;
        let mut first = [0; HEAD];
        if before > HEAD {
            let mut copy = BytesMut::with_capacity(GRPC_PREFIX + frame);
            put_before(head, frame, carried, &mut copy);
            copy.extend_from_slice(&self.buffer[HEAD..]);
            return copy.freeze();
        }
        put_before(head, frame, carried, &mut first.as_mut_slice());
        let mut buffer = self.buffer;
        buffer[HEAD - before..HEAD].copy_from_slice(&first[..before]);
        buffer.freeze().slice(HEAD - before..)
    }
}

fn put_before(head: &impl EventsMessage, frame: usize, carried: usize, to: &mut impl BufMut) {
    to.put_u8(0);
    // A frame has a few megabytes at most, far less than gRPC's 4 GiB.
    to.put_u32(frame as u32);
    put_head(CARRIER, carried, to);
    // What it needs it has: it was measured before.
    head.encode_raw(to);
}

/// Writes an encoded event with its tag and length, as it lies beside others.
pub fn put_event(event: &[u8], to: &mut BytesMut) {
    to.reserve(field_len(event.len()));
    put_bytes(EVENTS, event, to);
}

/// The gRPC message of any other frame.
pub fn message(frame: &impl Message) -> Bytes {
    let length = frame.encoded_len();
    let mut bytes = BytesMut::with_capacity(GRPC_PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    frame.encode_raw(&mut bytes);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::v1::{Acknowledge, Attempt, Credit};
    use super::*;
    use crate::cloudevents::v1::CloudEvent;

    fn event(id: &str) -> CloudEvent {
        CloudEvent { id: id.to_owned(), data: None, ..Default::default() }
    }

    /// The frame inside of a gRPC message.
    fn unwrap(message: Bytes) -> Bytes {
        assert_eq!(message[0], 0);
        let length = u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, message.len() - 5);
        message.slice(5..)
    }

    #[test]
    fn a_frame_of_events_is_what_a_decoder_expects() {
        let mut buffer = EventsBuffer::with_capacity(10);
        let ids = (0..100).map(|id| id.to_string());
        let events: Vec<_> = ids.map(|id| event(&id)).collect();
        events.iter().for_each(|event| buffer.push(&event.encode_to_vec()));
        assert_eq!(buffer.count(), 100);
        let head = Publish { sequence: 7, ack: 2, ..Default::default() };
        let frame = unwrap(buffer.finish(&head));
        let publish = Publish { events: events.clone(), ..head.clone() };
        let expected = ClientFrame { frame: Some(client_frame::Frame::Publish(publish)) };
        assert_eq!(ClientFrame::decode(frame.clone()).unwrap(), expected);

        let Incoming::Events(message) = client_frame(frame).unwrap() else { panic!("no events") };
        let mut spans = Vec::new();
        assert_eq!(Publish::read(&message, 100, &mut spans).unwrap(), head);
        let read: Vec<_> =
            spans.iter().map(|span| CloudEvent::decode(message.slice(span.content())).unwrap()).collect();
        assert_eq!(read, events);

        // And on to somebody else, the second half as one run.
        let run = &message[spans[50].whole().start..spans[99].whole().end];
        let mut buffer = EventsBuffer::with_capacity(run.len());
        buffer.push_run(run, 50);
        let attempts = (0..40).map(|index| Attempt { index, number: 2 }).collect();
        let head = Delivery { subscription: 3, sequence: 9, attempts, ..Default::default() };
        let frame = unwrap(buffer.finish(&head));
        let delivery = Delivery { events: events[50..].to_vec(), ..head };
        let expected = BusFrame { frame: Some(bus_frame::Frame::Delivery(delivery)) };
        assert_eq!(BusFrame::decode(frame).unwrap(), expected);
    }

    #[test]
    fn frames_without_events_are_decoded() {
        let ack = Acknowledge { subscription: 1, handled: vec![1, 2], ..Default::default() };
        let frame = client_frame::Frame::Acknowledge(ack);
        let bytes = unwrap(message(&ClientFrame { frame: Some(frame.clone()) }));
        assert_eq!(client_frame(bytes).unwrap(), Incoming::Other(Some(frame)));
        let frame = bus_frame::Frame::Credit(Credit { events: 5, ..Default::default() });
        let bytes = unwrap(message(&BusFrame { frame: Some(frame.clone()) }));
        assert_eq!(bus_frame(bytes).unwrap(), Incoming::Other(Some(frame)));
        // One of a later version.
        assert_eq!(client_frame(Bytes::from_static(&[0x9a, 0x06, 0])).unwrap(), Incoming::Other(None));
        assert_eq!(client_frame(Bytes::new()).unwrap(), Incoming::Other(None));
        // Something of a later version beside the events, and something that takes their place.
        let beside = client_frame(Bytes::from_static(&[0x12, 0, 0x9a, 0x06, 0])).unwrap();
        assert_eq!(beside, Incoming::Events(Bytes::new()));
        let instead = client_frame(Bytes::from_static(&[0x12, 0, 0x0a, 0])).unwrap();
        assert_eq!(instead, Incoming::Other(Some(client_frame::Frame::Hello(Default::default()))));
        assert!(client_frame(Bytes::from_static(&[0xff])).is_err());
        assert!(client_frame(Bytes::from_static(&[0x10, 0x01])).is_err(), "a carrier that is a number");
    }

    #[test]
    fn there_is_a_bound_for_the_events_of_a_frame() {
        let message: Bytes =
            Publish { events: vec![event("1"); 11], ..Default::default() }.encode_to_vec().into();
        let mut spans = Vec::new();
        assert!(Publish::read(&message, 11, &mut spans).is_ok());
        let fault = Publish::read(&message, 10, &mut spans).unwrap_err().to_string();
        assert_eq!(fault, "more than 10 events in a frame");
    }

    #[test]
    fn what_a_frame_needs_before_its_events_fits() {
        let timeout = Some(prost_types::Duration { seconds: i64::MAX, nanos: i32::MAX });
        let largest = Publish { sequence: u64::MAX, ack: i32::MAX, timeout, ..Default::default() };
        let largest = GRPC_PREFIX + 1 + varint_len(u64::from(u32::MAX)) + largest.encoded_len();
        assert!(largest <= HEAD, "{largest}");
    }
}
