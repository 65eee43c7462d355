//! The last lines of a plugin, for `logs` and whoever follows.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{Level, LogLine, LogSink, Stream};
use crate::launch::reaper::lock;
use crate::name::{InstanceName, PluginName};

/// Lines kept for each plugin: what a person scrolls through.
pub const BUFFERED_LINES: usize = 1000;

/// Target of the `tracing` events that are lines of plugins. Their fields are `plugin`, `instance`, `stream`, and
/// `fields`: what a structured line says beside its message, as a JSON object.
pub const PLUGIN_OUTPUT: &str = "plugmesh::plugin";

/// Bytes of text kept for each plugin, whatever the number of lines.
const BUFFERED_BYTES: usize = 1 << 20;

/// Ring of the last [`BUFFERED_LINES`] lines of a plugin, all instances together. Lines are passed on to
/// `tracing` too. Cloning is cheap; clones share the lines.
///
/// Followers read from the ring itself, so that a slow one costs no memory: it is told how many lines it
/// missed.
#[derive(Clone)]
pub struct LogBuffer {
    shared: Arc<Shared>,
}

struct Shared {
    plugin: PluginName,
    ring: Mutex<Ring>,
    /// Number of the next line. Followers wait on it.
    next: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<Arc<LogEntry>>,
    bytes: usize,
    next: u64,
}

/// A line with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Counts the lines of the plugin, from 0; gaps are lines that a follower missed.
    pub sequence: u64,
    /// Who wrote it.
    pub instance: InstanceName,
    /// What.
    pub line: LogLine,
}

/// What a follower gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A line.
    Line(Arc<LogEntry>),
    /// This many lines came and went before the follower asked.
    Lost(u64),
}

/// Reads lines in order, as they come.
pub struct Follower {
    shared: Arc<Shared>,
    next: u64,
    changed: watch::Receiver<u64>,
}

struct InstanceSink {
    shared: Arc<Shared>,
    instance: InstanceName,
}

impl LogBuffer {
    /// An empty buffer.
    pub fn new(plugin: PluginName) -> Self {
        Self { shared: Arc::new(Shared { plugin, ring: Mutex::default(), next: watch::Sender::new(0) }) }
    }

    /// A sink for one instance, to give to [`ProcessSpec::log`](crate::launch::ProcessSpec::log).
    pub fn sink(&self, instance: InstanceName) -> Arc<dyn LogSink> {
        Arc::new(InstanceSink { shared: Arc::clone(&self.shared), instance })
    }

    /// The last `count` lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<Arc<LogEntry>> {
        let ring = lock(&self.shared.ring);
        ring.entries.iter().skip(ring.entries.len().saturating_sub(count)).cloned().collect()
    }

    /// Follows from the last `count` lines on.
    pub fn follow(&self, count: usize) -> Follower {
        let ring = lock(&self.shared.ring);
        let next = ring.next - u64::try_from(ring.entries.len().min(count)).unwrap_or(0);
        Follower { shared: Arc::clone(&self.shared), next, changed: self.shared.next.subscribe() }
    }
}

impl Follower {
    /// The next line, or how many were missed; waits for one. Cancelling the wait loses nothing.
    ///
    /// A follower keeps the buffer alive, so this never ends by itself.
    pub async fn next(&mut self) -> Followed {
        loop {
            if let Some(followed) = self.try_next() {
                return followed;
            }
            let next = self.next;
            // The sender lives in what this holds, so it cannot be gone.
            let _ = self.changed.wait_for(|newest| *newest > next).await;
        }
    }

    /// The same without waiting.
    pub fn try_next(&mut self) -> Option<Followed> {
        let ring = lock(&self.shared.ring);
        let oldest = ring.next - u64::try_from(ring.entries.len()).unwrap_or(0);
        if self.next < oldest {
            let lost = oldest - self.next;
            self.next = oldest;
            return Some(Followed::Lost(lost));
        }
        let entry = ring.entries.get(usize::try_from(self.next - oldest).ok()?)?;
        self.next += 1;
        Some(Followed::Line(Arc::clone(entry)))
    }
}

impl LogSink for InstanceSink {
    fn line(&self, line: LogLine) {
        self.trace(&line);
        self.shared.push(self.instance.clone(), line);
    }

    fn lost(&self, stream: Stream, count: u64) {
        let (plugin, instance) = (self.shared.plugin.as_str(), self.instance.as_str());
        tracing::warn!(plugin, instance, %stream, count, "output dropped, it came too fast");
    }
}

impl InstanceSink {
    fn trace(&self, line: &LogLine) {
        let (plugin, instance) = (self.shared.plugin.as_str(), self.instance.as_str());
        let (stream, text, fields) = (line.stream.as_str(), line.text.as_str(), line.fields_json.as_deref());
        // The level of an event is part of its call site, hence one for each.
        macro_rules! forward {
            ($level:ident) => {
                tracing::$level!(target: PLUGIN_OUTPUT, plugin, instance, stream, fields, "{text}")
            };
        }
        match line.level.unwrap_or(Level::Info) {
            Level::Trace => forward!(trace),
            Level::Debug => forward!(debug),
            Level::Info => forward!(info),
            Level::Warn => forward!(warn),
            Level::Error => forward!(error),
        }
    }
}

impl Shared {
    fn push(&self, instance: InstanceName, line: LogLine) {
        let mut ring = lock(&self.ring);
        let entry = Arc::new(LogEntry { sequence: ring.next, instance, line });
        ring.bytes += entry.bytes();
        ring.next += 1;
        ring.entries.push_back(entry);
        while ring.entries.len() > BUFFERED_LINES || ring.bytes > BUFFERED_BYTES {
            let Some(oldest) = ring.entries.pop_front() else { break };
            ring.bytes -= oldest.bytes();
        }
        let next = ring.next;
        drop(ring);
        // Two sinks may arrive here out of order: followers wait for a number, which must not fall.
        self.next.send_if_modified(|newest| {
            next > *newest && {
                *newest = next;
                true
            }
        });
    }
}

impl LogEntry {
    fn bytes(&self) -> usize {
        self.line.text.len() + self.line.fields_json.as_ref().map_or(0, String::len)
    }
}

impl fmt::Debug for LogBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogBuffer").field("plugin", &self.shared.plugin).finish_non_exhaustive()
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("next", &self.next).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn line(text: &str) -> LogLine {
        let (time, stream) = (SystemTime::UNIX_EPOCH, Stream::Stdout);
        LogLine { time, stream, level: None, text: text.to_owned(), fields_json: None }
    }

    fn buffer() -> (LogBuffer, Arc<dyn LogSink>) {
        let buffer = LogBuffer::new("text".parse().unwrap());
        let sink = buffer.sink(InstanceName::new("text".parse().unwrap(), 0));
        (buffer, sink)
    }

    #[test]
    fn the_last_lines_stay() {
        let (buffer, sink) = buffer();
        (0..BUFFERED_LINES + 10).for_each(|number| sink.line(line(&number.to_string())));
        let all = buffer.last(usize::MAX);
        assert_eq!((all.len(), all[0].line.text.as_str()), (BUFFERED_LINES, "10"));
        assert_eq!(buffer.last(1)[0].sequence, 1009);
    }

    #[test]
    fn long_lines_push_out_more() {
        let (buffer, sink) = buffer();
        (0..200).for_each(|_| sink.line(line(&"x".repeat(16 * 1024))));
        assert_eq!(buffer.last(usize::MAX).len(), 64);
    }

    #[tokio::test]
    async fn a_follower_gets_what_was_and_what_comes() {
        let (buffer, sink) = buffer();
        ["a", "b"].iter().for_each(|text| sink.line(line(text)));
        let mut follower = buffer.follow(1);
        let text = |followed| match followed {
            Followed::Line(entry) => entry.line.text.clone(),
            Followed::Lost(count) => format!("lost {count}"),
        };
        assert_eq!(text(follower.next().await), "b");
        let next = tokio::spawn(async move { (text(follower.next().await), follower) });
        tokio::task::yield_now().await;
        sink.line(line("c"));
        let (next, mut follower) = next.await.unwrap();
        assert_eq!(next, "c");
        (0..BUFFERED_LINES + 7).for_each(|_| sink.line(line("more")));
        assert_eq!(follower.next().await, Followed::Lost(7));
    }
}
