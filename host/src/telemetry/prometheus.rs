//! Metrics as Prometheus reads them: text format 0.0.4.
//!
//! Names are translated as OpenTelemetry says: dots become underscores, the unit and, for counters, `total` are appended.

use std::fmt::{self, Write};

use super::metrics::{Family, Kind, Labels, Metrics, Value};

/// Media type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.families().try_for_each(|family| write_family(f, family))
    }
}

fn write_family(f: &mut fmt::Formatter<'_>, family: &Family) -> fmt::Result {
    let name = name_of(family);
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::UpDown | Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(f, "# HELP {name} {}", Escaped(family.description, false))?;
    writeln!(f, "# TYPE {name} {kind}")?;
    for (labels, value) in family.series() {
        let labels = Shown(labels);
        match value {
            Value::Count(count) => writeln!(f, "{name}{labels} {count}")?,
            Value::Level(level) => writeln!(f, "{name}{labels} {level}")?,
            Value::Histogram(histogram) => {
                let bounds = histogram.bounds().iter().map(f64::to_string);
                let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
                for (bound, count) in bounds.zip(histogram.cumulative()) {
                    writeln!(f, "{name}_bucket{} {count}", With(labels.0, &bound))?;
                }
                let sum = histogram.sum();
                // As a fraction it would be off by its rounding.
                writeln!(f, "{name}_sum{labels} {}.{:09}", sum.as_secs(), sum.subsec_nanos())?;
                writeln!(f, "{name}_count{labels} {}", histogram.count())?;
            }
        }
    }
    Ok(())
}

/// The name of a metric in Prometheus.
pub(super) fn name_of(family: &Family) -> String {
    let mut name = family.name.replace('.', "_");
    if family.unit == "s" && !name.ends_with("_seconds") {
        name.push_str("_seconds");
    }
    if family.kind == Kind::Counter {
        name.push_str("_total");
    }
    name
}

struct Shown<'a>(&'a Labels);

/// Labels with the bound of a bucket.
struct With<'a>(&'a Labels, &'a str);

/// A text with what ends a line, and a label when it is in quotes, escaped.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_labels(f, self.0, None)
    }
}

impl fmt::Display for With<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_labels(f, self.0, Some(self.1))
    }
}

fn write_labels(f: &mut fmt::Formatter<'_>, labels: &Labels, bound: Option<&str>) -> fmt::Result {
    let mut before = '{';
    for (key, value) in labels {
        f.write_char(before)?;
        key.chars().try_for_each(|c| f.write_char(if c == '.' { '_' } else { c }))?;
        write!(f, "=\"{}\"", Escaped(value, true))?;
        before = ',';
    }
    if let Some(bound) = bound {
        write!(f, "{before}le=\"{bound}\"")?;
        before = ',';
    }
    match before {
        '{' => Ok(()),
        _ => f.write_char('}'),
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '"' if self.1 => f.write_str("\\\""),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests;
