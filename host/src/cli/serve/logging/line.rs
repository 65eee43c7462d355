//! One line of a log: an event, its fields in the order in which they were given.

use std::fmt;
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::human::{attributes, lines, printable};
use crate::cli::terminal::{Paint, Tone};
use crate::launch::PLUGIN_OUTPUT;

/// For people: `TIME LEVEL who: message name=value`.
#[derive(Debug)]
pub(super) struct Text(pub(super) Paint);

/// For machines: one object a line; what a plugin logged with its message is the object `fields`.
#[derive(Debug)]
pub(super) struct Json;

/// What an event says.
#[derive(Debug, Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
    /// Of a plugin's line, its own fields as a JSON object.
    of_plugin: Option<String>,
    is_from_plugin: bool,
}

impl Said {
    fn new(event: &Event<'_>) -> Self {
        let is_from_plugin = event.metadata().target() == PLUGIN_OUTPUT;
        let mut said = Self { is_from_plugin, ..Self::default() };
        event.record(&mut said);
        said
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            ("fields", Value::String(json)) if self.is_from_plugin => self.of_plugin = Some(json),
            (name, value) => self.fields.push((name, value)),
        }
    }

    /// Takes a field that is shown in a place of its own.
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|(field, _)| *field == name)?;
        match self.fields.remove(at).1 {
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let said = Said::new(event);
        let (time, level) = (now(), event.metadata().level());
        write!(to, r#"{{"timestamp":"{time}","level":"{level}","message":{}"#, Value::String(said.message))?;
        if !said.is_from_plugin {
            write!(to, r#","target":"{}""#, event.metadata().target())?;
        }
        for (name, value) in &said.fields {
            write!(to, r#","{name}":{value}"#)?;
        }
        if let Some(fields) = &said.of_plugin {
            write!(to, r#","fields":{fields}"#)?;
        }
        to.write_str("}\n")
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::new(event);
        let (plugin, instance) = (said.take("plugin"), said.take("instance"));
        // It tells little that the message does not.
        said.take("stream");
        let (Self(paint), level) = (self, *event.metadata().level());
        let level = paint.tone(tone(level), format_args!("{level:<5}"));
        write!(to, "{} {level} ", paint.tone(Tone::Faint, now()))?;
        if let Some(who) = instance.or(plugin) {
            write!(to, "{} ", paint.bold(format_args!("{}:", printable(&who))))?;
        }
        // What a plugin said last before it died has several lines.
        to.write_str(&lines(&said.message))?;
        let mut shown = String::new();
        for (name, value) in &said.fields {
            attributes(&mut shown, name, value);
        }
        if let Some(Ok(fields)) = said.of_plugin.map(|fields| serde_json::from_str::<Value>(&fields)) {
            attributes(&mut shown, "", &fields);
        }
        if !shown.is_empty() {
            write!(to, "{}", paint.tone(Tone::Faint, shown))?;
        }
        to.write_char('\n')
    }
}

fn now() -> impl fmt::Display {
    humantime::format_rfc3339_millis(SystemTime::now())
}

fn tone(level: Level) -> Tone {
    match level {
        Level::ERROR => Tone::Bad,
        Level::WARN => Tone::Notice,
        Level::INFO => Tone::Good,
        Level::DEBUG | Level::TRACE => Tone::Faint,
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::cli::terminal::Captured;

    impl MakeWriter<'_> for Captured {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What is logged of an event of the host and of a line of a plugin, without the time.
    fn logged(
        format: impl FormatEvent<tracing_subscriber::Registry, Fields> + Send + Sync + 'static,
    ) -> String {
        let to = Captured::default();
        let log = tracing_subscriber::fmt().with_writer(to.clone()).event_format(format).finish();
        tracing::subscriber::with_default(log, || {
            tracing::info!(target: "host", plugin = "text", instance = %"text-0", took_ms = 7, "ready");
            tracing::warn!(
                target: PLUGIN_OUTPUT, plugin = "text", instance = "text-0", stream = "stderr",
                fields = r#"{"page":3,"tray":{"name":"a b"}}"#, "{}", "low on \"ink\""
            );
        });
        let time = now().to_string().len();
        to.text()
            .lines()
            .map(|line| line.split_at(time + if line.starts_with('{') { 14 } else { 0 }).1.to_owned() + "\n")
            .collect()
    }

    type Fields = tracing_subscriber::fmt::format::DefaultFields;

    #[test]
    fn machines_get_objects() {
        assert_eq!(
            logged(Json),
            concat!(
                r#"","level":"INFO","message":"ready","target":"host","plugin":"text","instance":"text-0","took_ms":7}"#,
                "\n",
                r#"","level":"WARN","message":"low on \"ink\"","plugin":"text","instance":"text-0","stream":"stderr","#,
                r#""fields":{"page":3,"tray":{"name":"a b"}}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn people_get_lines() {
        let paint = Paint::none();
        assert_eq!(
            logged(Text(paint)),
            concat!(
                " INFO  text-0: ready took_ms=7\n",
                " WARN  text-0: low on \"ink\" page=3 tray.name=\"a b\"\n"
            )
        );
    }
}
