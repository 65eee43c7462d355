//! The protobuf encoding, as far as events need it: read in place, without allocating and without trust.

use std::ops::Range;

use bytes::BufMut;
use prost::encoding::encode_varint;

/// Why some bytes are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends within a field.
    #[error("it ends in the middle of a field")]
    Truncated,
    /// More than ten bytes, or more than 64 bits.
    #[error("a number is longer than 64 bits")]
    Varint,
    /// Zero, or beyond what the format knows.
    #[error("a field number is not between 1 and 536870911")]
    FieldNumber,
    /// A group, or none of the known types.
    #[error("field {0} has a wire type that no message uses (groups are not supported)")]
    WireType(u32),
    /// The field is known and its encoding is not the one that it has.
    #[error("field {0} is not encoded as its type is")]
    FieldType(u32),
    /// A string is not text.
    #[error("field {0} is not UTF-8")]
    Utf8(u32),
}

/// A field as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32,
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// Where it lies in the message, its tag included.
    pub(crate) whole: Range<usize>,
}

impl<'a> Field<'a> {
    pub(crate) fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(WireError::FieldType(self.number)),
        }
    }

    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::FieldType(self.number)),
        }
    }

    pub(crate) fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8(self.number))
    }

    /// Where the bytes of a string, of bytes or of a message lie.
    pub(crate) fn content(&self) -> Result<Range<usize>, WireError> {
        Ok(self.whole.end - self.bytes()?.len()..self.whole.end)
    }
}

/// The fields of a message, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    /// Takes the next field if it has this tag, and less than 16 KiB. Gives where it begins, where its content does, and where it ends.
    #[inline]
    pub(crate) fn short(&mut self, tag: u8) -> Option<(usize, usize, usize)> {
        let begin = self.at;
        let [found, low, high] = *self.message.get(begin..)?.first_chunk()?;
        let (content, length) = match low < 0x80 {
            true => (begin + 2, usize::from(low)),
            false => (begin + 3, usize::from(high) << 7 | usize::from(low & 0x7f)),
        };
        let end = content + length;
        let is_short = low < 0x80 || high < 0x80;
        let is_it = found == tag && is_short && end <= self.message.len();
        is_it.then(|| {
            self.at = end;
            (begin, content, end)
        })
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        // Nearly all are of one byte: tags, and lengths below 128.
        match self.message.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            Some(_) => self.long_varint(),
            None => Err(WireError::Truncated),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for place in 0..10 {
            let byte = *self.message.get(self.at).ok_or(WireError::Truncated)?;
            self.at += 1;
            // Of the tenth byte one bit is left.
            if place == 9 && byte > 1 {
                return Err(WireError::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
        let end = self.at.checked_add(length).ok_or(WireError::Truncated)?;
        let taken = self.message.get(self.at..end).ok_or(WireError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let begin = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(WireError::FieldNumber)?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(WireError::WireType(number)),
        };
        Ok(Field { number, value, whole: begin..self.at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    /// Goes on behind a field; after an error nothing follows.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

/// Writes a number, nearly always one of a byte or two.
#[inline]
fn put_number(value: u64, to: &mut impl BufMut) {
    match value {
        0..0x80 => to.put_u8(value as u8),
        0x80..0x4000 => to.put_slice(&[value as u8 | 0x80, (value >> 7) as u8]),
        _ => encode_varint(value, to),
    }
}

/// Writes a field that is a number. Its own is below 16.
pub(crate) fn put_varint(field: u32, value: u64, to: &mut impl BufMut) {
    to.put_u8((field << 3) as u8);
    put_number(value, to);
}

/// Writes the tag and the length of a field that is a string, bytes or a message. Its number is below 16.
#[inline]
pub(crate) fn put_head(field: u32, length: usize, to: &mut impl BufMut) {
    to.put_u8((field << 3 | 2) as u8);
    put_number(length as u64, to);
}

/// Writes a field that is a string, bytes or a message. Its number is below 16.
#[inline]
pub(crate) fn put_bytes(field: u32, bytes: &[u8], to: &mut impl BufMut) {
    put_head(field, bytes.len(), to);
    to.put_slice(bytes);
}

/// Bytes that a number takes.
pub(crate) const fn varint_len(value: u64) -> usize {
    // Seven bits a byte, and at least one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Bytes that a field of so many bytes takes with its tag and length. The number is below 16.
pub(crate) const fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, WireError> {
        Fields::of(message).map(|field| field.map(|field| (field.number, field.value))).collect()
    }

    #[test]
    fn reads_every_encoding() {
        let message = [
            0x08, 0x96, 0x01, // 1: 150
            0x12, 0x02, b'h', b'i', // 2: "hi"
            0x19, 1, 2, 3, 4, 5, 6, 7, 8, // 3: eight bytes
            0x25, 1, 2, 3, 4, // 4: four bytes
            0x82, 0x01, 0x00, // 16: empty
        ];
        let expected = vec![
            (1, Value::Varint(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Fixed64),
            (4, Value::Fixed32),
            (16, Value::Bytes(b"")),
        ];
        assert_eq!(fields(&message).unwrap(), expected);
        let second = Fields::of(&message).nth(1).unwrap().unwrap();
        assert_eq!((second.whole.clone(), second.content().unwrap()), (3..7, 5..7));
    }

    #[test]
    fn refuses_what_is_no_message() {
        let overlong = [[0xff; 10].as_slice(), &[0x01]].concat();
        for (message, error) in [
            ([0x08].as_slice(), WireError::Truncated),
            (&[0x80], WireError::Truncated),
            (&[0x12, 3, b'h', b'i'], WireError::Truncated),
            (&[0x19, 1], WireError::Truncated),
            (&[0x25, 1], WireError::Truncated),
            (&[0x00, 0x00], WireError::FieldNumber),
            (&[0x80, 0x80, 0x80, 0x80, 0x10, 0x00], WireError::FieldNumber),
            (&[0x0b], WireError::WireType(1)),
            (&[0x0e], WireError::WireType(1)),
            (&overlong, WireError::Varint),
            // A length of nearly 2^64 must not overflow anything.
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], WireError::Truncated),
        ] {
            assert_eq!(fields(message), Err(error), "{message:x?}");
        }
        assert_eq!(Fields::of(&[0x00, 0x08, 0x01]).count(), 1, "nothing follows an error");
    }

    #[test]
    fn lengths_of_numbers_are_those_of_their_encoding() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1 << bits) - 1] {
                let mut bytes = Vec::new();
                encode_varint(value, &mut bytes);
                assert_eq!(varint_len(value), bytes.len(), "{value}");
                let mut written = Vec::new();
                put_number(value, &mut written);
                assert_eq!(written, bytes);
                assert_eq!(Fields { message: &bytes, at: 0 }.varint(), Ok(value));
            }
        }
        assert_eq!(varint_len(u64::MAX), 10);
    }
}
