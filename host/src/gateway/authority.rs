//! Accepts `:authority` values that stock clients send over Unix sockets.
//!
//! gRPC clients built on the C core (Python, C++, Ruby, PHP) send the socket's path percent-encoded, such as
//! `%2Frun%2Fhost.sock`; some in Java and Swift send it as it is. Neither is an authority by RFC 3986, and the
//! HTTP/2 library resets each such call before anybody sees it. So on Unix sockets, where the value means
//! nothing, `%` and `/` in it are replaced by `-` on their way in. In plain text as in HPACK's Huffman code
//! the three have the same length, so lengths and the dynamic table stay as the client counts them.
//!
//! The first call decides: when its authority is well-formed, the rest of the connection is not looked at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use crate::transport::write_through;

const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// The largest frame that the gateway accepts; a larger one ends the connection.
const MAX_FRAME: usize = 16 << 10;
/// Read at a time while frames are looked at.
const CHUNK: usize = 8 << 10;
/// `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
/// The name itself, which the C core spells out, as text and in Huffman code.
const AUTHORITY_NAMES: [&[u8]; 2] = [b":authority", &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f]];

/// A stream whose incoming `:authority` values are made well-formed.
#[derive(Debug)]
pub(super) struct Mended<T> {
    io: T,
    watching: bool,
    /// Read from the stream and not yet handed on, of which `ready` bytes may be.
    held: BytesMut,
    ready: usize,
    /// Bytes until the next frame header.
    skip: usize,
}

/// What a header block has for an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    WellFormed,
    Mended,
}

impl<T> Mended<T> {
    /// Looks at frames only when `watching`. The stream begins with the HTTP/2 preface.
    pub(super) fn new(io: T, watching: bool) -> Self {
        Self { io, watching, held: BytesMut::new(), ready: 0, skip: PREFACE }
    }

    /// Finds out how much may be handed on: everything but a HEADERS frame that is not yet whole.
    fn scan(&mut self) {
        loop {
            let passed = self.skip.min(self.held.len() - self.ready);
            self.skip -= passed;
            self.ready += passed;
            if !self.watching {
                self.ready = self.held.len();
                return;
            }
            let rest = self.held.get_mut(self.ready..).unwrap_or_default();
            let Some((header, payload)) = rest.split_first_chunk_mut::<FRAME_HEADER>() else { return };
            let [a, b, c, kind, flags, ..] = *header;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind == HEADERS && length <= MAX_FRAME {
                let Some(payload) = payload.get_mut(..length) else { return };
                self.watching = mend(payload, flags) != Seen::WellFormed;
            }
            self.skip = FRAME_HEADER + length;
        }
    }
}

/// Looks for a literal `:authority` in the payload of a HEADERS frame and replaces what is not allowed in it.
fn mend(payload: &mut [u8], flags: u8) -> Seen {
    let mut at = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    loop {
        match literal_authority(payload, &mut at) {
            Some(Some((value, huffman))) => {
                let value = payload.get_mut(value).unwrap_or_default();
                let count = if huffman { mend_huffman(value) } else { mend_plain(value) };
                return if count == 0 { Seen::WellFormed } else { Seen::Mended };
            }
            Some(None) => {}
            None => return Seen::Nothing,
        }
    }
}

/// Steps over one header: `None` at the end of the block, `Some(Some(..))` when it is the one looked for.
fn literal_authority(block: &[u8], at: &mut usize) -> Option<Option<(std::ops::Range<usize>, bool)>> {
    // RFC 7541 §6: the first bits of a representation tell its kind.
    let first = *block.get(*at)?;
    let prefix = match first {
        0x80.. => 7,
        0x40.. => 6,
        0x20.. => 5,
        _ => 4,
    };
    let name = integer(block, at, prefix)?;
    if first >= 0x80 || prefix == 5 {
        return Some(None);
    }
    let is_authority = match name {
        0 => {
            let (name, _) = string(block, at)?;
            block.get(name).is_some_and(|name| AUTHORITY_NAMES.contains(&name))
        }
        _ => name == AUTHORITY,
    };
    let value = string(block, at)?;
    Some(is_authority.then_some(value))
}

/// RFC 7541 §5.1.
fn integer(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    // Three bytes say more than a frame can hold.
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// RFC 7541 §5.2: where the text is, and whether it is in Huffman code.
fn string(block: &[u8], at: &mut usize) -> Option<(std::ops::Range<usize>, bool)> {
    let huffman = *block.get(*at)? >= 0x80;
    let length = integer(block, at, 7)?;
    let range = *at..at.checked_add(length)?;
    block.get(range.clone())?;
    *at = range.end;
    Some((range, huffman))
}

fn mend_plain(value: &mut [u8]) -> usize {
    let wrong = value.iter_mut().filter(|byte| matches!(byte, b'%' | b'/'));
    wrong.map(|byte| *byte = b'-').count()
}

/// RFC 7541 appendix B. Codes of one length follow each other, so the length of a code shows in its first
/// bits; what has more than eight does not occur in a path that anybody uses, and ends the walk.
fn mend_huffman(value: &mut [u8]) -> usize {
    const PERCENT: u8 = 0x15;
    const DASH: u8 = 0x16;
    const SLASH: u8 = 0x18;
    let mut bit = 0;
    let mut mended = 0;
    loop {
        let Some(eight) = bits(value, bit) else { return mended };
        let length = match eight {
            0..=0b0100_1111 => 5,
            0b0101_0000..=0b1011_0111 => 6,
            0b1011_1000..=0b1111_0111 => 7,
            0b1111_1000..=0b1111_1101 => 8,
            _ => return mended,
        };
        if length == 6 && matches!(eight >> 2, PERCENT | SLASH) && bit + 6 <= value.len() * 8 {
            // The codes differ in these bits only.
            flip(value, bit, ((eight >> 2) ^ DASH) << 2);
            mended += 1;
        }
        bit += length;
    }
}

/// Eight bits from a bit offset, filled up with ones, as the code itself pads.
fn bits(value: &[u8], bit: usize) -> Option<u8> {
    let high = u16::from(*value.get(bit / 8)?) << 8;
    let low = u16::from(value.get(bit / 8 + 1).copied().unwrap_or(0xff));
    Some(((high | low) >> (8 - bit % 8)) as u8)
}

fn flip(value: &mut [u8], bit: usize, pattern: u8) {
    let [high, low] = (u16::from(pattern) << (8 - bit % 8)).to_be_bytes();
    if let Some(byte) = value.get_mut(bit / 8) {
        *byte ^= high;
    }
    if let Some(byte) = value.get_mut(bit / 8 + 1) {
        *byte ^= low;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Mended<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                let count = this.ready.min(buf.remaining());
                buf.put_slice(this.held.get(..count).unwrap_or_default());
                this.held.advance(count);
                this.ready -= count;
                return Poll::Ready(Ok(()));
            }
            if !this.watching && this.held.is_empty() {
                return Pin::new(&mut this.io).poll_read(cx, buf);
            }
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                // The end of the stream; half a frame is nothing to the reader either.
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(chunk.filled());
            this.scan();
        }
    }
}

write_through!(Mended);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn plain(authority: &str) -> Vec<u8> {
        // :method POST, :scheme http, a literal name, then :authority with incremental indexing.
        let mut block = vec![0x83, 0x86, 0x00, 1, b'a', 2, b'b', b'c', 0x41, authority.len() as u8];
        block.extend(authority.as_bytes());
        block
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn percent_and_slash_become_dashes() {
        let mut block = plain("%2Ftmp/x.sock");
        assert_eq!(mend(&mut block, 0), Seen::Mended);
        assert_eq!(block, plain("-2Ftmp-x.sock"));
        assert_eq!(mend(&mut plain("localhost:50051"), 0), Seen::WellFormed);
        assert_eq!(mend(&mut [0x83, 0x86], 0), Seen::Nothing);
        let mut padded = [vec![3, 0, 0, 0, 0, 0], plain("/x")].concat();
        assert_eq!(mend(&mut padded, PADDED | PRIORITY), Seen::Mended);
    }

    #[test]
    fn a_name_that_is_spelled_out_is_known() {
        for name in AUTHORITY_NAMES {
            let huffman = if name[0] == b':' { 0 } else { 0x80 };
            let mut block = [&[0x40, huffman | name.len() as u8], name, &[4], b"a%2F"].concat();
            assert_eq!(mend(&mut block, 0), Seen::Mended);
            assert!(block.ends_with(b"a-2F"));
        }
    }

    #[test]
    fn huffman_code_is_mended_in_place() {
        // RFC 7541 appendix B: '%' 010101, '2' 00010, 'F' 1100011, '/' 011000, 'a' 00011, '-' 010110.
        let pack = |codes: &[&str]| -> Vec<u8> {
            let mut text = codes.concat();
            text.extend(std::iter::repeat_n('1', (8 - text.len() % 8) % 8));
            text.as_bytes()
                .chunks(8)
                .map(|bits| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap())
                .collect()
        };
        let mut value = pack(&["010101", "00010", "1100011", "011000", "00011", "010101"]);
        assert_eq!(mend_huffman(&mut value), 3);
        assert_eq!(value, pack(&["010110", "00010", "1100011", "010110", "00011", "010110"]));
        let mut fine = pack(&["00011", "010110"]);
        assert_eq!(mend_huffman(&mut fine), 0);
    }

    #[test]
    fn no_block_however_torn_or_random_does_harm() {
        let whole = plain("%2Ftmp");
        (0..whole.len()).for_each(|length| {
            mend(&mut whole[..length].to_vec(), 0);
        });
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut block: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(40).collect();
            mend(&mut block, random.u8(..));
            mend_huffman(&mut block);
        }
    }

    #[tokio::test]
    async fn frames_are_found_however_the_bytes_are_torn() {
        let sent = |authority: &str| {
            let begin = [vec![b'P'; PREFACE], frame(4, 0, &[0; 6]), frame(HEADERS, 4, &plain(authority))];
            [begin.concat(), frame(0, 1, &[b'%'; 300]), frame(HEADERS, 4, &plain(authority))].concat()
        };
        for size in [1, 2, 7, 100, 1000] {
            let parts = sent("%2F").chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>();
            let mut mock = Parts(parts.into());
            let mut read = Vec::new();
            Mended::new(&mut mock, true).read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent("-2F"), "in pieces of {size}");
        }
    }

    /// A reader that returns given pieces.
    struct Parts(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Parts {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(part) = self.0.pop_front() {
                buf.put_slice(&part);
            }
            Poll::Ready(Ok(()))
        }
    }
}
