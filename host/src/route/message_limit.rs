//! How large a gRPC message may be, counted on the raw body.

/// Largest message, in bytes, unless configured: 64 MiB. Plugins pass documents and images around, for which
/// the 4 MiB of most gRPC libraries is known to be too little; without any bound one message could take
/// the memory of the host.
pub const DEFAULT_MAX_MESSAGE: u64 = 64 * 1024 * 1024;

/// Length of the prefix of each message: one byte of flags, four of length.
const PREFIX: usize = 5;

/// Follows the message framing of one direction of one call, without buffering any of it.
#[derive(Debug)]
pub struct MessageMeter {
    max: u64,
    /// Bytes of the present message that are still to come.
    left: u64,
    /// The part of a prefix that has been seen.
    prefix: [u8; PREFIX],
    seen: usize,
}

/// A message is larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is over the limit of {max} bytes")]
pub struct TooLarge {
    /// Length that the message announces.
    pub length: u64,
    /// The limit.
    pub max: u64,
}

impl MessageMeter {
    /// A meter that admits messages of up to `max` bytes.
    pub fn new(max: u64) -> Self {
        Self { max, left: 0, prefix: [0; PREFIX], seen: 0 }
    }

    /// Whether the bytes so far end within a message.
    pub fn is_within_message(&self) -> bool {
        self.left > 0 || self.seen > 0
    }

    /// Takes note of the next bytes.
    ///
    /// # Errors
    /// A message that begins in them announces more than the limit. None of it need be passed on.
    pub fn advance(&mut self, mut bytes: &[u8]) -> Result<(), TooLarge> {
        loop {
            let skip = self.left.min(bytes.len() as u64);
            self.left -= skip;
            bytes = bytes.get(skip as usize..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = bytes.len().min(PREFIX - self.seen);
            let (head, rest) = bytes.split_at(taken);
            if let Some(place) = self.prefix.get_mut(self.seen..self.seen + taken) {
                place.copy_from_slice(head);
            }
            self.seen += taken;
            bytes = rest;
            if self.seen == PREFIX {
                let [_, a, b, c, d] = self.prefix;
                let length = u64::from(u32::from_be_bytes([a, b, c, d]));
                if length > self.max {
                    return Err(TooLarge { length, max: self.max });
                }
                self.left = length;
                self.seen = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX + length as usize, 7);
        bytes
    }

    #[test]
    fn counts_the_same_however_the_bytes_are_cut() {
        let mut bytes = message(10);
        bytes.extend(message(0));
        bytes.extend(message(100));
        bytes.extend(message(101));
        for size in 1..=bytes.len() {
            let mut meter = MessageMeter::new(100);
            let result = bytes.chunks(size).try_for_each(|chunk| meter.advance(chunk));
            assert_eq!(result, Err(TooLarge { length: 101, max: 100 }), "in pieces of {size}");
        }
    }

    #[test]
    fn admits_the_limit_itself() {
        let mut meter = MessageMeter::new(100);
        assert_eq!(meter.advance(&message(100)), Ok(()));
        assert_eq!(meter.advance(&message(100)), Ok(()));
    }

    #[test]
    fn knows_when_a_message_is_cut() {
        let bytes = message(3);
        for cut in 0..=bytes.len() {
            let mut meter = MessageMeter::new(100);
            meter.advance(&bytes[..cut]).unwrap();
            assert_eq!(meter.is_within_message(), 0 < cut && cut < bytes.len(), "after {cut} bytes");
        }
    }
}
