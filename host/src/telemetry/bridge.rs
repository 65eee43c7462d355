//! The same metrics for a meter provider that the program brings.
//!
//! Observable instruments are read when its reader collects. There is no observable histogram: a histogram becomes the counters
//! `NAME.bucket`, with the bound as `le`, `NAME.count` and `NAME.sum`, as Prometheus has it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;

use super::Source;
use super::catalogue::{Meta, all};
use super::metrics::{Histogram, Kind, Labels, Metrics, Value};

/// How long one reading serves: every instrument of one collection asks for it.
const FRESH: Duration = Duration::from_millis(100);

/// What the instruments read. It keeps nothing of a host alive.
#[derive(Clone, Debug)]
struct Reading {
    source: Weak<Source>,
    last: Arc<Mutex<Option<Read>>>,
}

/// What was read, and when.
#[derive(Debug)]
struct Read {
    at: Instant,
    metrics: Arc<Metrics>,
}

impl Reading {
    /// Everything, not older than [`FRESH`]; `None` once the host is gone.
    fn get(&self) -> Option<Arc<Metrics>> {
        let source = self.source.upgrade()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.at.elapsed() < FRESH) {
            return Some(last.metrics.clone());
        }
        let metrics = Arc::new(source.read());
        *last = Some(Read { at: Instant::now(), metrics: metrics.clone() });
        Some(metrics)
    }

    fn each(&self, name: &str, mut see: impl FnMut(&Labels, &Value)) {
        if let Some(metrics) = self.get()
            && let Some(family) = metrics.get(name)
        {
            family.series().for_each(|(labels, value)| see(labels, value));
        }
    }
}

impl Reading {
    fn each_histogram(&self, name: &str, mut see: impl FnMut(&Labels, &Histogram)) {
        self.each(name, |labels, value| {
            if let Value::Histogram(histogram) = value {
                see(labels, histogram);
            }
        });
    }
}

/// Makes an instrument of each metric. They end with the host.
pub(crate) fn register(provider: &dyn MeterProvider, source: &Arc<Source>) {
    let reading = Reading { source: Arc::downgrade(source), last: Arc::default() };
    let meter = provider.meter("plugmesh");
    for meta in all() {
        match meta.kind {
            Kind::Counter => counter(&meter, &meta, reading.clone()),
            Kind::UpDown => up_down(&meter, &meta, reading.clone()),
            Kind::Gauge => gauge(&meter, &meta, reading.clone()),
            Kind::Histogram => histogram(&meter, &meta, &reading),
        }
    }
}

type Meter = opentelemetry::metrics::Meter;

fn counter(meter: &Meter, meta: &Meta, reading: Reading) {
    let name = meta.name;
    let instrument =
        meter.u64_observable_counter(name).with_unit(meta.unit).with_description(meta.description);
    instrument
        .with_callback(move |observer| {
            reading.each(name, |labels, value| {
                if let Value::Count(count) = value {
                    observer.observe(*count, &attributes(labels));
                }
            });
        })
        .build();
}

fn up_down(meter: &Meter, meta: &Meta, reading: Reading) {
    let name = meta.name;
    let instrument =
        meter.i64_observable_up_down_counter(name).with_unit(meta.unit).with_description(meta.description);
    instrument
        .with_callback(move |observer| {
            reading.each(name, |labels, value| {
                if let Value::Count(count) = value {
                    observer.observe(i64::try_from(*count).unwrap_or(i64::MAX), &attributes(labels));
                }
            });
        })
        .build();
}

fn gauge(meter: &Meter, meta: &Meta, reading: Reading) {
    let name = meta.name;
    let instrument = meter.f64_observable_gauge(name).with_unit(meta.unit).with_description(meta.description);
    instrument
        .with_callback(move |observer| {
            reading.each(name, |labels, value| match value {
                Value::Count(count) => observer.observe(*count as f64, &attributes(labels)),
                Value::Level(level) => observer.observe(*level, &attributes(labels)),
                Value::Histogram(_) => {}
            });
        })
        .build();
}

fn histogram(meter: &Meter, meta: &Meta, reading: &Reading) {
    let name = meta.name;
    let (counts, sums, buckets) = (reading.clone(), reading.clone(), reading.clone());
    meter
        .u64_observable_counter(format!("{name}.count"))
        .with_unit("{call}")
        .with_description(meta.description)
        .with_callback(move |observer| {
            counts.each_histogram(name, |labels, one| observer.observe(one.count(), &attributes(labels)));
        })
        .build();
    meter
        .f64_observable_counter(format!("{name}.sum"))
        .with_unit(meta.unit)
        .with_description(meta.description)
        .with_callback(move |observer| {
            sums.each_histogram(name, |labels, one| {
                observer.observe(one.sum().as_secs_f64(), &attributes(labels));
            });
        })
        .build();
    meter
        .u64_observable_counter(format!("{name}.bucket"))
        .with_unit("{call}")
        .with_description(meta.description)
        .with_callback(move |observer| {
            buckets.each_histogram(name, |labels, one| {
                let bounds = one.bounds().iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                for (bound, count) in bounds.zip(one.cumulative()) {
                    let mut attributes = attributes(labels);
                    attributes.push(KeyValue::new("le", bound));
                    observer.observe(*count, &attributes);
                }
            });
        })
        .build();
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| KeyValue::new(*key, value.clone())).collect()
}

#[cfg(test)]
mod tests;
