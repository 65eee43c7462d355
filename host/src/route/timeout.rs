//! The `grpc-timeout` header.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// The header.
pub(crate) static HEADER: HeaderName = HeaderName::from_static("grpc-timeout");

/// Reads a value; `None` when it is malformed, which gRPC's HTTP/2 protocol lets a server ignore.
pub(crate) fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    // At most eight digits, so that no unit can overflow.
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Writes a value: at most eight digits, in the finest unit that they suffice for. Rounds up, so that what is left is not nothing.
pub(crate) fn format(left: Duration) -> HeaderValue {
    const UNITS: [(char, u128); 4] = [('n', 1), ('u', 1_000), ('m', 1_000_000), ('S', 1_000_000_000)];
    const MOST: u128 = 99_999_999;
    let nanos = left.as_nanos();
    let fitting = UNITS.iter().map(|(unit, size)| (nanos.div_ceil(*size), *unit)).find(|(n, _)| *n <= MOST);
    let (amount, unit) = fitting.unwrap_or((MOST, 'S'));
    // Digits and a letter are always a value.
    HeaderValue::try_from(format!("{amount}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_unit() {
        for (text, duration) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("20m", Duration::from_millis(20)),
            ("5u", Duration::from_micros(5)),
            ("7n", Duration::from_nanos(7)),
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), Some(duration), "{text}");
        }
    }

    #[test]
    fn reads_what_it_writes() {
        for nanos in [0, 1, 99_999_999, 100_000_000, 1_500_000_000, 3_600_000_000_000, u64::MAX] {
            let left = Duration::from_nanos(nanos);
            let read = parse(&format(left)).unwrap();
            assert!(read >= left.min(Duration::from_secs(99_999_999)), "{left:?} became {read:?}");
            assert!(read <= left.mul_f64(1.0001) + Duration::from_nanos(1), "{left:?} became {read:?}");
        }
        assert_eq!(format(Duration::MAX), "99999999S");
    }

    #[test]
    fn ignores_what_is_malformed() {
        for text in ["", "S", "1", "100000000S", "-1S", "1.5S", "1s", "S1"] {
            assert_eq!(parse(&HeaderValue::from_str(text).unwrap()), None, "{text}");
        }
    }
}
