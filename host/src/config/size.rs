//! Amounts of memory, as people write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes; written `64MiB`, `16KiB`, `10MB`, `512B` or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a size: write a whole number and a unit, such as 64MiB, 16KiB, 10MB or 512B")]
pub struct InvalidSize;

const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB.
    pub const fn kib(kib: u32) -> Self {
        Self((kib as u64) << 10)
    }

    /// So many MiB.
    pub const fn mib(mib: u32) -> Self {
        Self((mib as u64) << 20)
    }

    /// In bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// In bytes, cut to what this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(InvalidSize)?;
        let (number, unit) = (number.parse::<u64>().map_err(|_| InvalidSize)?, unit.trim_start());
        let factor = match unit {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(InvalidSize)?.1,
        };
        number.checked_mul(factor).map(Self).ok_or(InvalidSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().take(3).find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        let (unit, factor) = whole.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("64 mib", 64 << 20, "64MiB"),
            ("16KiB", 16 << 10, "16KiB"),
            ("10MB", 10_000_000, "10000000B"),
            ("4096", 4096, "4KiB"),
            ("0", 0, "0B"),
            ("7B", 7, "7B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.as_u64(), size.to_string().as_str()), (bytes, written), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5MiB", "1 parsec", "99999999999GiB", "1Mi", "é"] {
            assert_eq!(bad.parse::<ByteSize>(), Err(InvalidSize), "{bad:?}");
        }
    }
}
