//! Metrics as plain data: read at one moment, shown in any format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, SystemTime};

use super::catalogue::Meta;
use crate::resilience::latency::{BOUNDS, LatencySnapshot};

/// The attributes of one series, sorted by key.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// Everything that a host counts, at one moment.
///
/// As text (`to_string`) it is Prometheus' format, version 0.0.4.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// When counting began: the start of the host.
    pub started: SystemTime,
    /// When this was read.
    pub at: SystemTime,
    families: BTreeMap<&'static str, Family>,
}

/// One metric, with all of its series.
#[derive(Clone, Debug)]
pub struct Family {
    /// OpenTelemetry name, such as `rpc.client.call.duration`.
    pub name: &'static str,
    /// What it says, for people.
    pub description: &'static str,
    /// Unit, as UCUM writes it: `s`, `1`, `{call}`.
    pub unit: &'static str,
    /// What its numbers mean.
    pub kind: Kind,
    series: BTreeMap<Labels, Value>,
}

/// What the numbers of a metric mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only rises, from the start of the host on.
    Counter,
    /// A sum over series makes sense: calls in flight.
    UpDown,
    /// What it is now: a state, an average.
    Gauge,
    /// How long something took, in buckets.
    Histogram,
}

/// What one series says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// Any number.
    Level(f64),
    /// A distribution.
    Histogram(Histogram),
}

/// How long things took.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    cumulative: Vec<u64>,
    sum: Duration,
}

impl Metrics {
    pub(super) fn new(started: SystemTime) -> Self {
        Self { started, at: SystemTime::now(), families: BTreeMap::new() }
    }

    /// Every metric that has a series, in the order of the names.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.values()
    }

    /// The metric of that OpenTelemetry name, when it has a series.
    pub fn get(&self, name: &str) -> Option<&Family> {
        self.families.get(name)
    }

    /// Adds to the series with these attributes. What has the same ones is one series: calls to two methods that nobody has
    /// described, or to the old and the new instance of a name while one replaces the other.
    pub(super) fn add(&mut self, meta: &Meta, mut labels: Labels, value: Value) {
        labels.sort_unstable_by_key(|(key, _)| *key);
        let family = self.families.entry(meta.name).or_insert_with(|| Family {
            name: meta.name,
            description: meta.description,
            unit: meta.unit,
            kind: meta.kind,
            series: BTreeMap::new(),
        });
        match family.series.entry(labels) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) if meta.kind != Kind::Gauge => entry.get_mut().merge(value),
            // The first is the newest.
            Entry::Occupied(_) => {}
        }
    }

    pub(super) fn count(&mut self, meta: &Meta, labels: &Labels, count: u64) {
        self.add(meta, labels.clone(), Value::Count(count));
    }

    pub(super) fn level(&mut self, meta: &Meta, labels: &Labels, level: f64) {
        self.add(meta, labels.clone(), Value::Level(level));
    }
}

impl Family {
    /// Every series, in the order of the attributes.
    pub fn series(&self) -> impl Iterator<Item = (&Labels, &Value)> {
        self.series.iter()
    }

    /// The value of the series that has all of these attributes, summed up when there are several. `None` when there is none.
    pub fn value(&self, attributes: &[(&str, &str)]) -> Option<Value> {
        let has = |labels: &Labels| {
            attributes.iter().all(|wanted| labels.iter().any(|(key, value)| (*key, &**value) == *wanted))
        };
        let mut found = self.series.iter().filter(|(labels, _)| has(labels)).map(|(_, value)| value.clone());
        let mut sum = found.next()?;
        found.for_each(|value| sum.merge(value));
        Some(sum)
    }
}

impl Value {
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Count(sum), Self::Count(more)) => *sum = sum.saturating_add(more),
            (Self::Level(sum), Self::Level(more)) => *sum += more,
            (Self::Histogram(sum), Self::Histogram(more)) => sum.merge(&more),
            // One metric has one kind of value.
            _ => {}
        }
    }
}

impl Histogram {
    /// Upper bounds of the buckets in seconds, without the last, which is infinite.
    pub fn bounds(&self) -> &'static [f64] {
        &BOUNDS
    }

    /// Of each bucket, how many took at most its bound; the last is how many there were.
    pub fn cumulative(&self) -> &[u64] {
        &self.cumulative
    }

    /// How many fell into each bucket.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        let below = std::iter::once(0).chain(self.cumulative.iter().copied());
        self.cumulative.iter().zip(below).map(|(cumulative, below)| cumulative.saturating_sub(below))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or_default()
    }

    /// How long they took together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    fn merge(&mut self, other: &Self) {
        for (sum, more) in self.cumulative.iter_mut().zip(&other.cumulative) {
            *sum = sum.saturating_add(*more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl From<LatencySnapshot> for Value {
    fn from(snapshot: LatencySnapshot) -> Self {
        Self::Histogram(Histogram { cumulative: snapshot.cumulative.to_vec(), sum: snapshot.sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::latency::LatencyHistogram;
    use crate::telemetry::catalogue::{BREAKER_STATE, CLIENT_DURATION, IN_FLIGHT};

    fn labels(method: &str) -> Labels {
        vec![("rpc.method", Cow::Owned(method.to_owned()))]
    }

    #[test]
    fn series_of_the_same_attributes_are_one() {
        let mut metrics = Metrics::new(SystemTime::UNIX_EPOCH);
        let latency = LatencyHistogram::new();
        latency.record(Duration::from_millis(3));
        for method in ["a", "b", "a"] {
            metrics.add(&CLIENT_DURATION, labels(method), latency.snapshot().into());
            metrics.count(&IN_FLIGHT, &labels(method), 2);
            metrics.level(&BREAKER_STATE, &labels(method), if method == "b" { 0.0 } else { 1.0 });
        }
        let family = metrics.get(CLIENT_DURATION.name).unwrap();
        let Some(Value::Histogram(both)) =
            family.value(&labels("a").iter().map(|(k, v)| (*k, &**v)).collect::<Vec<_>>())
        else {
            panic!("no histogram")
        };
        assert_eq!((both.count(), both.sum()), (2, Duration::from_millis(6)));
        assert_eq!(both.buckets().sum::<u64>(), 2);
        assert_eq!(
            both.buckets().position(|count| count > 0),
            both.bounds().iter().position(|bound| *bound >= 3e-3)
        );
        let value = |name: &str| metrics.get(name).unwrap().value(&[("rpc.method", "a")]);
        assert_eq!(value(IN_FLIGHT.name), Some(Value::Count(4)));
        assert_eq!(value(BREAKER_STATE.name), Some(Value::Level(1.0)), "a state is not added up");
        assert_eq!(family.value(&[("rpc.method", "c")]), None);
    }
}
