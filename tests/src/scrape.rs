//! Metrics as Prometheus reads them: text format 0.0.4, checked as strictly as it is written.

use std::collections::{BTreeMap, BTreeSet};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

type Labels = BTreeMap<String, String>;

/// One answer to `GET /metrics`.
#[derive(Debug)]
pub struct Scrape {
    text: String,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    /// Asks over HTTP/1.1, as a scraper does.
    pub async fn read(mut io: impl AsyncRead + AsyncWrite + Unpin) -> Self {
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: text/plain;version=0.0.4\r\n\r\n";
        io.write_all(request.as_bytes()).await.expect("a server");
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        Self::parse(body)
    }

    /// Reads a text, and panics when it is not what the format asks for.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut samples = BTreeMap::new();
        let mut known = BTreeSet::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let family = line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("{line:?} is no HELP"));
            let (name, _) = family.split_once(' ').expect("a text of HELP");
            assert!(is_name(name) && !name.contains("__"), "{name}");
            assert!(known.insert(name), "{name} comes twice");
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.unwrap_or_else(|| panic!("{name} has no TYPE"));
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{name}: {kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            let mut of_family = BTreeMap::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (sample, labels, value) = parse_sample(line);
                let suffix = sample.strip_prefix(name).unwrap_or_else(|| panic!("{sample} among {name}"));
                match kind {
                    "histogram" => assert!(matches!(suffix, "_bucket" | "_sum" | "_count"), "{sample}"),
                    _ => assert_eq!(suffix, "", "{sample}"),
                }
                assert!(kind == "gauge" || value >= 0.0, "{line}");
                assert!(of_family.insert((sample, labels), value).is_none(), "{line} comes twice");
            }
            assert!(!of_family.is_empty(), "{name} has no samples");
            if kind == "histogram" {
                check_histograms(name, &of_family);
            }
            samples.extend(of_family);
        }
        Self { text: text.to_owned(), samples }
    }

    /// The sum of the samples of that name that have all of these labels; `None` when there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |of: &Labels| labels.iter().all(|(key, value)| of.get(*key).is_some_and(|it| it == value));
        let found = self.samples.iter().filter(|((sample, of), _)| sample == name && has(of));
        found.map(|(_, value)| *value).reduce(|sum, value| sum + value)
    }

    /// The values that a label has in the samples of that name.
    pub fn labels(&self, name: &str, label: &str) -> BTreeSet<&str> {
        let samples = self.samples.keys().filter(|(sample, _)| sample == name);
        samples.filter_map(|(_, labels)| labels.get(label)).map(String::as_str).collect()
    }

    /// As it was sent.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn parse_sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line:?} has no value"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (key, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label in {line:?}"));
            assert!(is_name(key), "{line}");
            let (value, after) = parse_quoted(after);
            assert!(labels.insert(key.to_owned(), value).is_none(), "{key} comes twice in {line}");
            match after.strip_prefix(',') {
                Some(after) => rest = after,
                None => {
                    rest =
                        after.strip_prefix('}').unwrap_or_else(|| panic!("labels without end in {line:?}"));
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line:?} has no value"));
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line:?} has no number")))
}

/// A text up to its closing quote, and what follows.
fn parse_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("\\{other:?} in {text:?}"),
            }),
            c => value.push(c),
        }
    }
    panic!("{text:?} has no closing quote")
}

/// Buckets rise to the count, and there is a sum.
fn check_histograms(name: &str, samples: &BTreeMap<(String, Labels), f64>) {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for ((sample, labels), value) in samples {
        let mut labels = labels.clone();
        let bound = labels.remove("le");
        assert_eq!(bound.is_some(), sample.ends_with("_bucket"), "{sample}");
        let buckets = series.entry(labels).or_default();
        if let Some(bound) = bound {
            buckets.push((bound.parse().expect("a bound"), *value));
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}{labels:?}: {buckets:?}");
        let get = |suffix| samples.get(&(format!("{name}_{suffix}"), labels.clone()));
        let (count, sum) = (get("count").expect("a count"), *get("sum").expect("a sum"));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name}{labels:?}");
        // As many as there are took at least the lower bound of their bucket.
        let mut below = (0.0, 0.0);
        let mut least = 0.0;
        for (bound, cumulative) in buckets {
            least += (cumulative - below.1) * below.0;
            below = (bound, cumulative);
        }
        assert!(sum >= least, "{name}{labels:?}: {sum} < {least}");
    }
}
