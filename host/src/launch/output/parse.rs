//! From bytes of a plugin to a line: text made harmless, JSON lines taken apart.

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::{Level, LogLine, Stream};

/// Names of the severity, by the loggers that write them: tracing, slog, zap and zerolog, hclog, Bunyan.
const LEVEL: [&str; 5] = ["level", "@level", "severity", "lvl", "log.level"];

/// Names of the message.
const MESSAGE: [&str; 3] = ["message", "msg", "@message"];

/// Names of the time, by the same.
const TIME: [&str; 4] = ["timestamp", "@timestamp", "time", "ts"];

/// Begins a control sequence.
const ESCAPE: char = '\u{1b}';

/// Makes a line of `bytes`, which are at most [`MAX_LINE_BYTES`](super::MAX_LINE_BYTES).
pub(super) fn parse(bytes: &[u8], stream: Stream) -> LogLine {
    let time = SystemTime::now();
    let text = String::from_utf8_lossy(bytes);
    match (stream, json_line(&text)) {
        (Stream::Stderr, Some((level, message, fields_json))) => {
            LogLine { time, stream, level, text: harmless(&message).into_owned(), fields_json }
        }
        _ => LogLine { time, stream, level: None, text: harmless(&text).into_owned(), fields_json: None },
    }
}

/// Level, message and the rest of a JSON object with a message.
fn json_line(text: &str) -> Option<(Option<Level>, String, Option<String>)> {
    let text = text.trim();
    if !text.starts_with('{') || !text.ends_with('}') {
        return None;
    }
    // Nesting is bounded by serde_json, size by the line.
    let mut members: Map<String, Value> = serde_json::from_str(text).ok()?;
    let level = LEVEL.iter().find_map(|name| level(members.get(*name)?).map(|level| (*name, level)));
    if let Some((name, _)) = level {
        members.remove(name);
    }
    let message = take_message(&mut members)?;
    // tracing's JSON format nests them; nobody else does.
    if let Some(Value::Object(_)) = members.get("fields")
        && let Some(Value::Object(fields)) = members.remove("fields")
    {
        fields.into_iter().for_each(|(name, value)| _ = members.entry(name).or_insert(value));
    }
    // The line has a time of its own: when the host read it.
    TIME.iter().for_each(|name| drop(members.remove(*name)));
    let rest = (!members.is_empty()).then(|| Value::Object(members).to_string());
    Some((level.map(|(_, level)| level), message, rest))
}

/// The message, from the top or from `fields`, where tracing's JSON format puts it.
fn take_message(members: &mut Map<String, Value>) -> Option<String> {
    let take = |members: &mut Map<String, Value>| {
        let name = MESSAGE.iter().find(|name| members.get(**name).is_some_and(Value::is_string))?;
        match members.remove(*name) {
            Some(Value::String(message)) => Some(message),
            _ => None,
        }
    };
    take(members).or_else(|| take(members.get_mut("fields")?.as_object_mut()?))
}

fn level(value: &Value) -> Option<Level> {
    match value {
        Value::String(name) => match name.to_ascii_lowercase().as_str() {
            "trace" => Some(Level::Trace),
            "debug" => Some(Level::Debug),
            "info" | "information" | "notice" => Some(Level::Info),
            "warn" | "warning" => Some(Level::Warn),
            "error" | "err" | "fatal" | "critical" | "panic" | "dpanic" => Some(Level::Error),
            _ => None,
        },
        // Bunyan and pino count in tens.
        Value::Number(number) => match number.as_u64()? {
            10 => Some(Level::Trace),
            20 => Some(Level::Debug),
            30 => Some(Level::Info),
            40 => Some(Level::Warn),
            50 | 60 => Some(Level::Error),
            _ => None,
        },
        _ => None,
    }
}

/// Without colours, and with other control characters replaced: a log shown on a terminal must not
/// command it.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ESCAPE if chars.next_if_eq(&'[').is_some() => {
                // A control sequence ends with a character from @ to ~.
                for c in chars.by_ref() {
                    if matches!(c, '@'..='~') {
                        break;
                    }
                }
            }
            '\n' => clean.push('\n'),
            c if is_harmful(c) => clean.push(char::REPLACEMENT_CHARACTER),
            c => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stderr(text: &str) -> LogLine {
        parse(text.as_bytes(), Stream::Stderr)
    }

    #[test]
    fn json_lines_of_common_loggers_are_understood() {
        for line in [
            r#"{"level":"warn","msg":"low on ink","page":3}"#,
            r#"{"@level":"WARN","@message":"low on ink","page":3}"#,
            r#"{"severity":"WARNING","message":"low on ink","page":3}"#,
            r#"{"level":40,"msg":"low on ink","page":3}"#,
        ] {
            let line = stderr(line);
            assert_eq!((line.level, line.text.as_str()), (Some(Level::Warn), "low on ink"));
            assert_eq!(line.fields_json.as_deref(), Some(r#"{"page":3}"#));
        }
        let line = stderr(
            r#"{"timestamp":"2026-01-02T03:04:05Z","level":"INFO","fields":{"message":"hi","n":1},"target":"a::b"}"#,
        );
        assert_eq!(line.text, "hi");
        assert_eq!(line.fields_json.as_deref(), Some(r#"{"n":1,"target":"a::b"}"#));
    }

    #[test]
    fn what_is_no_log_line_stays_text() {
        let deep = format!("{{\"msg\":{}", "[".repeat(10_000)) + "}";
        for text in ["{", "{}", "{\"a\":1}", "[1]", "{\"msg\":7}", "plain", &deep] {
            let line = stderr(text);
            assert_eq!((line.level, line.text.as_str(), line.fields_json), (None, text, None));
        }
        assert_eq!(parse(br#"{"msg":"x"}"#, Stream::Stdout).text, r#"{"msg":"x"}"#);
    }

    #[test]
    fn a_log_does_not_command_a_terminal() {
        assert_eq!(stderr("\u{1b}[31mred\u{1b}[0m").text, "red");
        assert_eq!(stderr("title\u{1b}]0;x\u{7}").text, "title\u{fffd}]0;x\u{fffd}");
        assert_eq!(parse(b"bad \xff utf8", Stream::Stdout).text, "bad \u{fffd} utf8");
        assert_eq!(stderr(r#"{"msg":"\u001b[2Jgone"}"#).text, "gone");
    }
}
