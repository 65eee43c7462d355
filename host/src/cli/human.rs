//! Numbers, times and names as people read them.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// Shows a span with one unit, or two where one would be coarse: `350 ms`, `1.2 s`, `4m 5s`, `3h 2m`, `6d 1h`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |big: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit} {small}{part}"),
    };
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "m"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

/// Shows how long something short took: `85 µs`, `1.25 ms`, `350 ms`, and beyond a second as [`span`].
pub(crate) fn precise(time: Duration) -> String {
    match time.as_micros() {
        0..1000 => format!("{} µs", time.as_micros()),
        1000..100_000 => format!("{:.2} ms", time.as_secs_f64() * 1000.0),
        _ => span(time),
    }
}

/// Time since `then`, as [`span`] but in whole seconds; `-` when it is not known.
pub(crate) fn age(then: Option<prost_types::Timestamp>, now: SystemTime) -> String {
    let Some(then) = then.and_then(|stamp| SystemTime::try_from(stamp).ok()) else { return "-".to_owned() };
    // A clock may have been set back: that is an age of nothing.
    let age = now.duration_since(then).unwrap_or_default();
    if age < Duration::from_secs(60) { format!("{}s", age.as_secs()) } else { span(age) }
}

/// A moment with milliseconds, in UTC; empty when it is not known.
pub(crate) fn moment(stamp: Option<prost_types::Timestamp>) -> String {
    // Only years that RFC 3339 can write: the formatter refuses others.
    stamp
        .filter(|stamp| (0..253_402_300_800).contains(&stamp.seconds))
        .and_then(|stamp| SystemTime::try_from(stamp).ok())
        .map(|time| humantime::format_rfc3339_millis(time).to_string())
        .unwrap_or_default()
}

/// Name of an enum value without its prefix, in small letters: `PLUGIN_STATE_READY` becomes `ready`.
pub(crate) fn state(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', " ")
}

/// Text that somebody else wrote, safe to show on a terminal: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => safe.push(c),
            // Directional marks make a terminal show another text than the one that is there.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let _ = write!(safe, "{}", c.escape_default());
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Text of several lines that somebody else wrote, each safe to show, later ones indented.
pub(crate) fn lines(text: &str) -> String {
    text.trim_end().lines().map(printable).collect::<Vec<_>>().join("\n    ")
}

/// The first line of a text that somebody else wrote, with a sign when there are more.
pub(crate) fn first_line(text: &str) -> String {
    match text.trim_end().split_once('\n') {
        Some((first, _)) => printable(first) + " …",
        None => printable(text.trim_end()),
    }
}

/// Appends ` name=value`, with a dotted name for each member of an object; text is quoted where it must be.
pub(crate) fn attributes(to: &mut String, name: &str, value: &Value) {
    // Writing to a string cannot fail.
    let _ = match value {
        Value::Object(members) => {
            let dot = if name.is_empty() { "" } else { "." };
            members.iter().for_each(|(member, value)| attributes(to, &format!("{name}{dot}{member}"), value));
            Ok(())
        }
        Value::String(text) if is_word(text) => write!(to, " {}={}", printable(name), printable(text)),
        // JSON escapes control characters, and so does this with the others that steer a terminal.
        other => write!(to, " {}={}", printable(name), printable(&other.to_string())),
    };
}

/// Whether text can stand without quotes.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '='))
}

/// Reads a size such as `65536`, `64KiB`, `64 MiB` or `1GB`.
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is no size: say 65536, 64KiB, 64MiB or 1GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "kb" => 1_000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.parse::<usize>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

/// Shows a size with one unit: `512 B`, `1.5 KiB`, `12.0 MiB`.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let (mut shown, mut unit) = (size as f64 / 1024.0, UNITS[0]);
    for larger in &UNITS[1..] {
        // What would be rounded to 1024.0 is one of the next.
        if shown < 1023.95 {
            break;
        }
        (shown, unit) = (shown / 1024.0, larger);
    }
    format!("{shown:.1} {unit}")
}

/// `1 plugin`, `2 plugins`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let shown = [0, 350, 1_249, 59_900, 60_000, 245_000, 10_920_000, 86_400_000, 522_000_000]
            .map(|millis| span(Duration::from_millis(millis)));
        assert_eq!(shown, ["0 ms", "350 ms", "1.2 s", "59.9 s", "1m", "4m 5s", "3h 2m", "1d", "6d 1h"]);
    }

    #[test]
    fn an_age_is_never_negative() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let stamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        assert_eq!(age(stamp(93), now), "7s");
        assert_eq!(age(stamp(200), now), "0s");
        assert_eq!(age(None, now), "-");
    }

    #[test]
    fn a_moment_that_no_calendar_has_is_left_out() {
        let stamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 5_000_000 });
        assert_eq!(moment(stamp(0)), "1970-01-01T00:00:00.005Z");
        assert_eq!(moment(stamp(i64::MAX)), "");
        assert_eq!(moment(stamp(-5)), "");
    }

    #[test]
    fn what_a_plugin_writes_cannot_steer_the_terminal() {
        assert_eq!(printable("a\tb\u{1b}[2Jc\u{202e}\r\n"), "a\tb\\u{1b}[2Jc\\u{202e}\\r\\n");
    }

    #[test]
    fn attributes_are_flat() {
        let value =
            serde_json::json!({"a": {"b": 1, "c": "x y"}, "d": [true], "e": "word", "f": "", "g": "\u{1b}"});
        let mut shown = String::new();
        attributes(&mut shown, "", &value);
        assert_eq!(shown, r#" a.b=1 a.c="x y" d=[true] e=word f="" g="\u001b""#);
    }

    #[test]
    fn a_size_has_one_unit() {
        let shown = [0, 1023, 1024, 1536, 1_048_575, 12 << 20, 5 << 40, u64::MAX].map(bytes);
        let expected =
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "12.0 MiB", "5.0 TiB", "16777216.0 TiB"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn sizes_have_units() {
        let read = ["7", "64KiB", "64 MiB", "1gb", "2g"].map(|text| parse_bytes(text).unwrap());
        assert_eq!(read, [7, 65_536, 67_108_864, 1_000_000_000, 2_147_483_648]);
        for bad in ["", "MiB", "1TiB", "-1", "1.5MiB", "99999999999999999999"] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
    }
}
