//! Standard output and error of a plugin: always drained, cut into lines, never trusted.
//!
//! A plugin must neither block because nobody reads nor make the host grow: lines have a greatest length,
//! rates have a limit beyond which lines are dropped and counted, and the text to show after a crash has a
//! fixed size.

mod buffer;
mod drain;
mod lines;
mod parse;
mod rate;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

pub use buffer::{BUFFERED_LINES, Followed, Follower, LogBuffer, LogEntry, PLUGIN_OUTPUT};
pub(crate) use drain::{Drain, Streams};

use crate::launch::reaper::lock;

/// Longest line, in bytes; a longer one is delivered in parts of this size. It holds a stack trace in one
/// JSON line.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// Lines of standard error kept to explain a crash.
pub const CRASH_LINES: usize = 40;

/// Bytes of standard error kept to explain a crash.
pub const CRASH_BYTES: usize = 16 * 1024;

/// One line that a plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When the host read it.
    pub time: SystemTime,
    /// Where the plugin wrote it.
    pub stream: Stream,
    /// Its severity, when it is a JSON line that says so.
    pub level: Option<Level>,
    /// The message of a JSON line, else the line. Invalid UTF-8 and control characters are replaced.
    pub text: String,
    /// Of a JSON line, its other members as one JSON object.
    pub fields_json: Option<String>,
}

/// Which output of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Finest.
    Trace,
    /// For debugging.
    Debug,
    /// Normal operation.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

/// Takes the lines of one process. Called from the task that drains it: it must not block.
pub trait LogSink: Send + Sync + 'static {
    /// One line, in the order of its stream.
    fn line(&self, line: LogLine);

    /// The plugin wrote faster than is kept: `count` lines of `stream` are missing before the next one.
    fn lost(&self, stream: Stream, count: u64) {
        let _ = (stream, count);
    }
}

/// A sink that throws all away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

/// The end of standard error, shared by the task that drains it and those who ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashText(Arc<std::sync::Mutex<Vec<u8>>>);

impl LogSink for Discard {
    fn line(&self, _: LogLine) {}
}

impl CrashText {
    /// Appends what was read, forgetting the oldest.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut kept = lock(&self.0);
        kept.extend_from_slice(bytes);
        // Moved only when twice the size, so that a byte is moved about once.
        if kept.len() > 2 * CRASH_BYTES {
            let excess = kept.len() - CRASH_BYTES;
            kept.drain(..excess);
        }
    }

    /// The last lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let kept = lock(&self.0);
        let excess = kept.len().saturating_sub(CRASH_BYTES);
        let bytes = kept.get(excess..).unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty());
        let mut lines: Vec<_> =
            lines.take(CRASH_LINES).map(|line| parse::parse(line, Stream::Stderr)).collect();
        lines.reverse();
        lines.into_iter().map(|line| line.text).collect()
    }
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Level {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_text_is_the_bounded_end() {
        let text = CrashText::default();
        for number in 0..10_000 {
            text.push(format!("line {number}\n").as_bytes());
        }
        let lines = text.lines();
        assert_eq!(lines.len(), CRASH_LINES);
        assert_eq!(lines.last().unwrap(), "line 9999");
        assert_eq!(lines.first().unwrap(), "line 9960");
    }

    #[test]
    fn crash_text_of_a_flood_stays_small() {
        let text = CrashText::default();
        for _ in 0..100 {
            text.push(&[b'x'; MAX_LINE_BYTES]);
            assert!(lock(&text.0).len() <= 2 * CRASH_BYTES);
        }
        assert_eq!(text.lines(), ["x".repeat(CRASH_BYTES)]);
    }
}
