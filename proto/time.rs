//! Spans of time as messages say them.

use std::time::Duration;

/// A span of time that somebody said. `None`: it is negative, which none is that the contract asks for.
///
/// Any value can be given. The conversion of prost-types negates one that is negative, and the least of all numbers has no opposite.
#[must_use]
pub fn duration(said: prost_types::Duration) -> Option<Duration> {
    let said = said.normalized();
    let (seconds, nanos) = (u64::try_from(said.seconds), u32::try_from(said.nanos));
    Some(Duration::new(seconds.ok()?, nanos.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_span_is_one_or_none() {
        let duration = |seconds, nanos| duration(prost_types::Duration { seconds, nanos });
        assert_eq!(duration(2, 500), Some(Duration::new(2, 500)));
        assert_eq!(duration(0, 0), Some(Duration::ZERO));
        assert_eq!(
            duration(2, -500_000_000),
            Some(Duration::from_millis(1_500)),
            "signs that differ are added up"
        );
        assert_eq!(duration(i64::MAX, i32::MAX), Some(Duration::new(i64::MAX as u64, 999_999_999)));
        for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MIN, 0), (i64::MIN, i32::MIN), (i64::MIN, i32::MAX)]
        {
            assert_eq!(duration(seconds, nanos), None, "{seconds} s and {nanos} ns");
        }
    }
}
